"""What a run has saved, as the rules see it; made from the disk, so it survives a restart."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ckpt import files
from ckpt.paths import MARKER_SUFFIX
from ckpt.records import Checkpoint


@dataclass(frozen=True)
class Saved:
    """One save."""

    seq: int
    """Number of the save in its run, from 1; 0 is the start of a fork."""
    step: int | None
    epoch: float | None
    value: float | None
    """The monitored metric; None when it was not recorded."""
    due: tuple[str, ...] = ()
    """The rules that asked for it."""
    at: float | None = None
    """When this process began to save it, by the monotonic clock; None for what others saved."""


class _Sums:
    """What the rules ask of many saves, kept up as they come."""

    def __init__(self) -> None:
        self.best: float | None = None
        self.saved_at: float | None = None
        self.last_seq = 0
        self.last_step: int | None = None
        self.steps: set[tuple[str, int | None]] = set()
        """Rules that were served, and where, in the past of this training."""
        self.epochs: set[tuple[str, float | None]] = set()

    def add(self, saved: Saved, mode: Literal["min", "max"], *, is_past: bool) -> None:
        self.last_seq = max(self.last_seq, saved.seq)
        if saved.at is not None:
            self.saved_at = saved.at if self.saved_at is None else max(self.saved_at, saved.at)
        if _is_better(saved.value, self.best, mode):
            self.best = saved.value
        if is_past:
            self.steps.update((rule, saved.step) for rule in saved.due)
            self.epochs.update((rule, saved.epoch) for rule in saved.due)
            if saved.seq > 0:
                self.last_step = saved.step


def _is_better(value: float | None, best: float | None, mode: Literal["min", "max"]) -> bool:
    if value is None or not math.isfinite(value):
        return False
    return best is None or (value < best if mode == "min" else value > best)


@dataclass
class History:
    """The saves of a run, oldest first. Asking costs the same however many they are."""

    mode: Literal["min", "max"] = "min"
    saves: list[Saved] = field(default_factory=list)
    """Changed by the methods alone."""
    began: float = field(default_factory=time.monotonic)
    """When this process first looked, by the monotonic clock: no time before that counts as training."""
    failed_at: float | None = None
    """When the newest save began of those that were taken back."""
    _past: set[int] = field(default_factory=set)
    """Numbers of the saves that this training has behind it: its own, and those up to what it went on from."""
    _known: _Sums | None = None

    def add(self, saved: Saved) -> None:
        """Takes note of a save of this training."""
        self._past.add(saved.seq)
        self.add_earlier(saved)

    def add_earlier(self, saved: Saved) -> None:
        """Takes note of a save that may be another training's."""
        self.saves.append(saved)
        if self._known is not None:
            self._known.add(saved, self.mode, is_past=saved.seq in self._past)

    def take_back(self, seq: int) -> None:
        """Save `seq` came to nothing: the rules ask as if it had not been tried."""
        self.failed_at = next((saved.at for saved in self.saves if saved.seq == seq), self.failed_at)
        self.saves = [saved for saved in self.saves if saved.seq != seq]
        self._past.discard(seq)
        self._known = None

    def go_on_with(self, seq: int) -> None:
        """Save `seq` is one of this training's own."""
        self._past.add(seq)
        self._known = None

    def go_on_from(self, seq: int) -> None:
        """The training goes on from save `seq`: that and earlier ones are its past, later ones are not any more."""
        self._past = {saved.seq for saved in self.saves if saved.seq <= seq}
        self._known = None

    @property
    def has_past(self) -> bool:
        """Whether this training saved something, or went on from a save."""
        return bool(self._past)

    def asked(self, rule: str, *, step: int | None = None, epoch: float | None = None) -> bool:
        """Whether a rule has been served at this step, or in this epoch, of this training.

        What an earlier training saved in the same run does not count unless this one went on from it.
        """
        sums = self._sums
        return (rule, epoch) in sums.epochs if step is None else (rule, step) in sums.steps

    @property
    def saved_at(self) -> float:
        """When this process last began a save, or else began itself, by the monotonic clock."""
        at = self._sums.saved_at
        return self.began if at is None else at

    @property
    def last_step(self) -> int | None:
        """The step of the newest save that this training has behind it; None before the first, as in a new fork."""
        return self._sums.last_step

    @property
    def best(self) -> float | None:
        """The best finite value of the monitored metric over all saves; None before the first."""
        return self._sums.best

    def is_better(self, value: float | None) -> bool:
        """Whether a value is finite and better than every save so far."""
        return _is_better(value, self.best, self.mode)

    @property
    def next_seq(self) -> int:
        """The number of the next save."""
        return self._sums.last_seq + 1

    @property
    def _sums(self) -> _Sums:
        sums = self._known
        if sums is None:
            sums = _Sums()
            for saved in self.saves:
                sums.add(saved, self.mode, is_past=saved.seq in self._past)
            self._known = sums
        return sums


def read_history(
    checkpoints: Iterable[Checkpoint], monitor: str, mode: Literal["min", "max"], *, attempt: int | None = None
) -> History:
    """The history behind the checkpoints of a run; a damaged one counts with the number that it took.

    The saves of the present `attempt` are the past of this training; None when it has not begun.
    """
    history = History(mode=mode)
    for found in sorted(checkpoints, key=lambda c: -1 if c.seq is None else c.seq):
        if found.seq is None:
            continue
        whole = found.state == "complete"
        if attempt is not None and found.attempt == attempt:
            history.go_on_with(found.seq)
        due = read_marker(Path(found.path)).get("due")
        history.add_earlier(
            Saved(
                seq=found.seq,
                step=found.step,
                epoch=found.epoch,
                value=found.value(monitor) if whole and found.label != "fork" else None,
                due=tuple(str(rule) for rule in due) if isinstance(due, list) and whole else (),
            )
        )
    return history


def read_marker(checkpoint: Path) -> dict[str, Any]:
    """The commit marker of a checkpoint file; {} when it cannot be read."""
    try:
        marker = files.read_json(checkpoint.with_suffix(MARKER_SUFFIX))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}
