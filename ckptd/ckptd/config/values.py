"""What the daemon is told by people (times, excludes, roots), and what a change of it means. Pure."""

from __future__ import annotations

from typing import Any, Literal

from ckpt.encoding import printable
from ckpt.records import Record

Origin = Literal["config.toml", "command", "session"]
"""Who named a root: a person in the file, a command (kept), or this daemon's own command line (for its life)."""

TIMES = ("rescan_s", "poll_s", "idle_exit_s")
"""The fields of Config that are seconds."""


class Root(Record, frozen=True, kw_only=True):
    """A directory to watch, recursively."""

    path: str
    """Absolute, without symbolic links."""
    mode: Literal["observe", "enforce"] = "observe"
    exclude: tuple[str, ...] = ()
    """Glob patterns of directory names, or of paths relative to the root, that are not looked into."""
    poll: bool = False
    """Whether events are not trusted here, so that it is looked at every `poll_s`."""
    origin: Origin = "command"


class Config(Record, frozen=True, kw_only=True):
    """What `config.toml` and the environment say. Times are seconds."""

    rescan_s: float = 60.0
    poll_s: float = 10.0
    idle_exit_s: float = 600.0
    exclude: tuple[str, ...] = ()
    """Patterns that hold below every root."""
    roots: tuple[Root, ...] = ()
    from_environment: tuple[str, ...] = ()
    """Names of the times that the environment decides."""


def effects(old: Config, new: Config) -> list[str]:
    """What going from one config to the other changes, one sentence each; empty when nothing does."""
    told = [
        f"{name}: {getattr(old, name):g} -> {getattr(new, name):g}"
        for name in TIMES
        if getattr(old, name) != getattr(new, name)
    ]
    if set(old.exclude) != set(new.exclude):
        told.append(f"exclude: {_patterns(old.exclude)} -> {_patterns(new.exclude)}")
    before = {root.path: root for root in old.roots}
    after = {root.path: root for root in new.roots}
    told += [f"watches {printable(path)}" for path in after if path not in before]
    told += [
        f"no longer watches {printable(path)}; its files, marks and trash stay" for path in before if path not in after
    ]
    for path, root in after.items():
        if path in before:
            told += [f"{printable(path)}: {change}" for change in _root_effects(before[path], root)]
    return told


def check_mode(mode: Any) -> None:
    """Refuses what no root may have. Raises ValueError."""
    if mode == "enforce":
        raise ValueError(
            "enforcement on directories that other tools write is not available for them yet; own runs keep "
            "their own policies under an observed root too"
        )
    if mode != "observe":
        raise ValueError(f"mode is observe or enforce, not '{printable(str(mode))}'")


def _root_effects(old: Root, new: Root) -> list[str]:
    told = []
    if old.mode != new.mode:
        told.append(f"mode {old.mode} -> {new.mode}")
    if set(old.exclude) != set(new.exclude):
        told.append(f"exclude {_patterns(old.exclude)} -> {_patterns(new.exclude)}")
    if old.poll != new.poll:
        told.append("changes are looked for" if new.poll else "changes are told by events")
    return told


def _patterns(patterns: tuple[str, ...]) -> str:
    return ", ".join(printable(pattern) for pattern in patterns) or "nothing"
