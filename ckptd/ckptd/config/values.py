"""What the daemon is told by people: times, excludes, roots, policies and limits. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from ckpt.exceptions import StateError
from ckpt.records import Record
from ckpt.retention.reading import given

Origin = Literal["config.toml", "command", "session"]
"""Who named a root: a person in the file, a command (kept), or this daemon's own command line (for its life)."""

Mode = Literal["observe", "enforce"]
"""Whether a root is only looked at, or policies act on what other tools write there too."""

TIMES = ("rescan_s", "poll_s", "idle_exit_s")
"""The fields of Config that are seconds."""


class Root(Record, frozen=True, kw_only=True):
    """A directory to watch, recursively."""

    path: str
    """Absolute, without symbolic links."""
    mode: Mode = "observe"
    exclude: tuple[str, ...] = ()
    """Glob patterns of directory names, or of paths relative to the root, that are not looked into."""
    poll: bool = False
    """Whether events are not trusted here, so that it is looked at every `poll_s`."""
    policy: dict[str, Any] = msgspec.field(default_factory=dict)
    """Given fields of the policy of what lies below it."""
    origin: Origin = "command"


class RunRule(Record, frozen=True, kw_only=True):
    """A policy for the runs that a pattern names."""

    match: str
    """A name, a path relative to the root, or a glob pattern of either, in which `*` stands for any text."""
    policy: dict[str, Any]
    """Given fields."""

    @property
    def names_one(self) -> bool:
        """Whether it names a run itself, and not whatever fits a pattern."""
        return not any(sign in self.match for sign in "*?[")

    def matches(self, name: str, place: str) -> bool:
        """Whether it means a run of this name, that lies at `place` relative to its root."""
        wanted = self.match.strip("/")
        if self.names_one:
            return wanted in (name, place)
        return fnmatchcase(name, wanted) or fnmatchcase(place, wanted)


class Limits(Record, frozen=True, kw_only=True):
    """How much goes unasked at once; what is beyond waits."""

    removals_per_run: int = 100
    """Checkpoints of one run in one pass."""
    bytes_per_run: int = 200_000_000_000
    """Bytes of one run in one pass."""
    removals_per_pass: int = 500
    """Checkpoints of all runs together in one pass."""
    reload_delay: float = 600.0
    """Seconds after a reload in which nothing goes unasked that only the new policies remove."""


class Config(Record, frozen=True, kw_only=True):
    """What `config.toml` and the environment say. Times are seconds."""

    rescan_s: float = 60.0
    poll_s: float = 10.0
    idle_exit_s: float = 600.0
    exclude: tuple[str, ...] = ()
    """Patterns that hold below every root."""
    roots: tuple[Root, ...] = ()
    policy: dict[str, Any] = msgspec.field(default_factory=dict)
    """Given fields of the policy of all runs below enforced roots that say nothing themselves."""
    runs: tuple[RunRule, ...] = ()
    """Policies of single runs; a later rule goes before an earlier one."""
    limits: Limits = Limits()
    warn_before: float = 21600.0
    """How long before a disk is full that is warned of."""
    from_environment: tuple[str, ...] = ()
    """Names of the times that the environment decides."""


def check_given(raw: Any, *, named: bool) -> dict[str, Any]:
    """The given fields of a policy from what a person wrote; `named` says whether it is of a run that is named itself.

    Raises StateError.
    """
    fields = given(raw)
    if fields.get("include_unknown") and not named:
        raise StateError(
            "include_unknown holds for a run that is named, not for many at once",
            hint='write a [[run]] with match = "NAME" for it, or `ckpt policy set RUN include_unknown=yes`',
        )
    return fields
