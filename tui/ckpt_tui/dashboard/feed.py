"""Where the dashboard's data comes from, as it needs it: the protocol that every source keeps.

All calls may block and are made from worker threads, never from the thread that draws. Sources raise the errors of
`ckpt.exceptions` (and OSError for the disk); the dashboard shows them and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ckpt.records import Checkpoint, Record, Run, Verdict
from ckpt_tui.dashboard.acts import Act, ActKind

Curves = dict[str, list[tuple[int, float]]]
"""Metric name to its points (step, value), by step; values may be NaN or infinite."""


class RunDetail(Record, frozen=True, kw_only=True):
    """A run with all that is shown of it."""

    run: Run
    checkpoints: tuple[Checkpoint, ...] = ()
    """Newest first."""
    verdicts: Mapping[str, Verdict] = {}
    """By checkpoint id."""
    policy: Mapping[str, Any] = {}

    def find(self, checkpoint: str | None) -> Checkpoint | None:
        """The checkpoint of an id; None when it is not here."""
        return next((c for c in self.checkpoints if c.id == checkpoint), None) if checkpoint else None


class Standing(Record, frozen=True, kw_only=True):
    """What a daemon tells of how runs stand with it."""

    asks: Mapping[str, str] = {}
    """By run id why its plan waits for a person."""
    enforced: frozenset[str] = frozenset()
    """Directories in which policies act on other tools' checkpoints too."""


class Feed(Protocol):
    """A source of runs, and what performs acts on them."""

    title: str
    """What the header shows as the source: `ckptd`, or a directory."""

    @property
    def advice(self) -> str:
        """What to do when there are no runs: a command."""

    def open(self) -> str | None:
        """Connects; returns why nothing can be changed here, or None."""

    def runs(self) -> list[Run]:
        """All runs, in any order."""

    def standing(self) -> Standing:
        """How the runs stand with the daemon; empty without one."""

    def run(self, run_id: str) -> RunDetail:
        """One run by id. Raises AddressError when it is gone."""

    def curves(self, run_id: str) -> Curves:
        """The scalars that a run emitted."""

    def plan(self, run_id: str) -> dict[str, Any]:
        """What the policy would do with a run now, in the shape of `ckpt plan --json`."""

    def diff(self, a: Checkpoint, b: Checkpoint) -> dict[str, Any]:
        """Two checkpoints compared, in the shape of `ckpt diff --json`."""

    def resume(self, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
        """What a training that goes on from a checkpoint finds in it, in the shape of `Inspection.resume`.

        None where that cannot be told.
        """

    def trash(self, run_id: str | None) -> list[dict[str, Any]]:
        """Removed checkpoints of a run or of all, in the shape of `ckpt trash ls --json`."""

    def undoable(self) -> Act | None:
        """The undo of the latest act, whose text says in a sentence what it takes back; None when there is nothing."""

    def cannot(self, kind: ActKind, run: Run | None) -> str | None:
        """Why an act cannot be done from here, with what would work; None when it can."""

    def address(self, run: Run, checkpoint: Checkpoint, siblings: tuple[Checkpoint, ...]) -> str:
        """How a command names a checkpoint."""

    def perform(self, act: Act) -> str:
        """Does it; returns what was done, as a sentence."""

    def ping(self) -> bool:
        """Whether the source answers; called every few seconds. Raises CkptError when it is lost."""

    def changes(self) -> Iterator[frozenset[str] | None]:
        """Blocks; yields ids of runs that changed, or None when any may have. Ends after `close`."""

    def close(self) -> None:
        """Ends `changes` soon; may be called from any thread, and twice."""
