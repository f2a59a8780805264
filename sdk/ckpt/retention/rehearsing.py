"""What a policy would have done over the history of a run: its saves once more in their order, planned at each. Pure.

What was said of a checkpoint later (a metric, a tag, a pin, a fork) counts from the moment on at which it was said.
Removals of the past do not count: everything that was ever saved is there until this policy takes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from ckpt import refs
from ckpt.records import Checkpoint, Record
from ckpt.retention.candidates import FORK_LABEL
from ckpt.retention.planner import RunPlan, plan
from ckpt.retention.policy import Policy
from ckpt.retention.situation import Situation

_DENSE = 32
"""Up to so many checkpoints are planned at every save; more of them less often, so that time grows with the saves."""
_TICKS = 3  # plans between two saves because only time passes


class Said(Record, frozen=True, kw_only=True):
    """Something that was said of a checkpoint after its save."""

    at: float
    """Unix seconds."""
    checkpoint: str
    changes: dict[str, Any]
    """Fields of its record as they are from then on."""


class Reached(Record, frozen=True, kw_only=True):
    """The extremes of a metric over a whole training, saved or not, and their steps."""

    low: float
    low_step: int
    high: float
    high_step: int


class History(Record, frozen=True, kw_only=True):
    """Every save of a run that anything is known of, as it was when it was saved."""

    saves: tuple[Checkpoint, ...] = ()
    """Complete ones, in the order of their saves."""
    said: tuple[Said, ...] = ()
    """By time."""
    removed: int = 0
    """How many of the saves are gone from the run: in the trash, or purged."""
    forgotten: int = 0
    """How many saves nothing is known of but that they were made."""
    unusable: int = 0
    """How many checkpoints are left out because they are not complete."""
    reached: dict[str, Reached] = msgspec.field(default_factory=dict)
    """Metric to what the training itself wrote of it, as far as it did."""


class Gone(Record, frozen=True, kw_only=True):
    """A checkpoint that the policy would have removed, and when."""

    checkpoint: Checkpoint
    at: float


class Point(Record, frozen=True, kw_only=True):
    """What was there after a save."""

    at: float
    checkpoints: int
    bytes: int


class Best(Record, frozen=True, kw_only=True):
    """What becomes of the best value that a metric ever had."""

    metric: str
    mode: Literal["min", "max"]
    monitored: bool
    """Whether the policy goes by it; the direction of the others is told by their names."""
    value: float
    checkpoint: Checkpoint
    kept: bool
    """Whether a checkpoint of that value would still be there."""
    left: float | None
    """The best value among those that would be left; None when none of them has one."""
    unsaved: float | None = None
    """A better value that the training wrote at a step of which no save is known."""
    unsaved_step: int | None = None


class Rehearsal(Record, frozen=True, kw_only=True):
    """What a policy would have made of a history."""

    policy: Policy
    saved: int
    saved_bytes: int
    kept: tuple[Checkpoint, ...]
    """What would be there at the end, in the order of the saves."""
    removed: tuple[Gone, ...]
    """In the order of their removal."""
    most: int
    """Checkpoints that were there at once, a fresh one before it made another superfluous; without the trash."""
    most_bytes: int
    """Their bytes."""
    points: tuple[Point, ...]
    """One for each save, after what it made superfluous is gone."""
    bests: tuple[Best, ...]
    """Of the monitored metrics first, then of all others that were recorded, by name."""
    asked: int
    """How many plans a person would have had to confirm; here they are carried out."""
    refused: str | None
    """Why nothing more would be removed at the end, although the rules leave something over."""
    every: int
    """The policy was asked at every save, or, where many are kept, at every so many."""

    @property
    def kept_bytes(self) -> int:
        """Bytes of what would be there at the end."""
        return sum(checkpoint.bytes for checkpoint in self.kept)


def rehearse(history: History, policy: Policy, situation: Situation, *, now: float) -> Rehearsal:
    """Replays a history under a policy, until the time `now` (Unix seconds).

    `situation` says whose run it is; its roots count as enforced and as healthy, and nothing as in use.
    """
    stage = _Stage(policy, situation.evolve(enforced=True, degraded=None, in_use=frozenset()))
    for moment in _moments(history):
        stage.pass_to(moment.saved_at if isinstance(moment, Checkpoint) else moment.at)
        if isinstance(moment, Checkpoint):
            stage.save(moment)
        else:
            stage.hear(moment)
    stage.pass_to(max(now, stage.now))
    stage.act()
    present = stage.present
    return Rehearsal(
        policy=policy,
        saved=len(history.saves),
        saved_bytes=sum(checkpoint.bytes for checkpoint in history.saves),
        kept=tuple(present.values()),
        removed=tuple(stage.removed),
        most=stage.most,
        most_bytes=stage.most_bytes,
        points=tuple(stage.points),
        bests=tuple(_bests(list(stage.known.values()), present, policy, history.reached)),
        asked=stage.asked,
        refused=stage.refused,
        every=stage.every,
    )


def _moments(history: History) -> Iterator[Checkpoint | Said]:
    """Saves in their order, and before each what was said until then."""
    waiting = list(reversed(history.said))
    for checkpoint in history.saves:
        while waiting and waiting[-1].at < checkpoint.saved_at:
            yield waiting.pop()
        yield checkpoint
    yield from reversed(waiting)


class _Stage:
    """The run while it is replayed."""

    def __init__(self, policy: Policy, situation: Situation) -> None:
        self._policy = policy
        self._situation = situation
        self._bytes = 0
        self._waiting = 0  # changes since the policy was asked last
        self._changes_at: float | None = None
        self._early: dict[str, dict[str, Any]] = {}  # said of what is saved only later, by a clock that went back
        self.now = -math.inf
        self.known: dict[str, Checkpoint] = {}
        """All that were ever saved, with all that was said of them."""
        self.present: dict[str, Checkpoint] = {}
        self.removed: list[Gone] = []
        self.points: list[Point] = []
        self.most = 0
        self.most_bytes = 0
        self.asked = 0
        self.refused: str | None = None
        self.every = 1

    def save(self, checkpoint: Checkpoint) -> None:
        """One more checkpoint; what it makes superfluous goes at once."""
        checkpoint = checkpoint.evolve(**self._early.pop(checkpoint.id, {}))
        self.known[checkpoint.id] = self.present[checkpoint.id] = checkpoint
        self._bytes += checkpoint.bytes
        self.most, self.most_bytes = max(self.most, len(self.present)), max(self.most_bytes, self._bytes)
        self._changed()
        self.points.append(Point(at=self.now, checkpoints=len(self.present), bytes=self._bytes))

    def hear(self, said: Said) -> None:
        """Something is said of a checkpoint, which may be gone by then."""
        known = self.known.get(said.checkpoint)
        if known is None:
            self._early[said.checkpoint] = said.changes
            return
        self.known[said.checkpoint] = known.evolve(**said.changes)
        if said.checkpoint in self.present:
            self.present[said.checkpoint] = self.known[said.checkpoint]
            self._changed()

    def pass_to(self, at: float) -> None:
        """Lets time pass; a clock that went back stands still."""
        for _ in range(_TICKS):
            due = self._changes_at
            if due is None or not self.now < due <= at:
                break
            self.now = due
            self._changes_at = None
            self._changed()
        self.now = max(self.now, at)

    def act(self) -> None:
        """Asks the policy, and removes what it does not keep."""
        self._waiting = 0
        made = plan(self.present.values(), self._policy, self.now, situation=self._situation)
        self._changes_at, self.refused = made.changes_at, made.refused
        if made.refused is None and made.remove:
            self.asked += made.ask is not None
            self._remove(made)

    def _remove(self, made: RunPlan) -> None:
        for decision in reversed(made.remove):
            gone = self.present.pop(decision.checkpoint.id)
            self._bytes -= gone.bytes
            self.removed.append(Gone(checkpoint=gone, at=self.now))

    def _changed(self) -> None:
        self._waiting += 1
        enough = 1 + max(0, len(self.present) - 1) // _DENSE
        if self._waiting >= enough:
            self.every = max(self.every, enough)
            self.act()


def _bests(
    known: list[Checkpoint], present: Mapping[str, Checkpoint], policy: Policy, reached: Mapping[str, Reached]
) -> Iterator[Best]:
    newest = [checkpoint for checkpoint in reversed(known) if checkpoint.label != FORK_LABEL]
    monitored = {monitor.metric: monitor.mode for monitor in policy.monitors}
    recorded = {name for checkpoint in newest for name in checkpoint.metrics}
    if any(checkpoint.loss is not None for checkpoint in newest):
        recorded.add("loss")
    for name in [*monitored, *sorted(recorded - monitored.keys())]:
        mode = monitored[name] if name in monitored else refs.mode_for(name)
        values = [checkpoint.value(name) for checkpoint in newest]
        ranked = refs.ranking(values, mode)
        if not ranked:
            continue
        best, left = values[ranked[0]] or 0.0, [place for place in ranked if newest[place].id in present]
        rest = values[left[0]] if left else None
        better = _better(best, reached.get(name), mode)
        yield Best(
            metric=name,
            mode=mode,
            monitored=name in monitored,
            value=best,
            checkpoint=newest[left[0] if left and rest == best else ranked[0]],
            kept=rest == best,
            left=rest,
            unsaved=None if better is None else better[0],
            unsaved_step=None if better is None else better[1],
        )


def _better(saved: float, reached: Reached | None, mode: Literal["min", "max"]) -> tuple[float, int] | None:
    if reached is None:
        return None
    if mode == "min":
        return (reached.low, reached.low_step) if reached.low < saved else None
    return (reached.high, reached.high_step) if reached.high > saved else None
