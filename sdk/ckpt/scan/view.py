"""A run with its checkpoints and the plan of its policy, put together from what was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ckpt import refs, retention
from ckpt.encoding import printable
from ckpt.marks import Marks
from ckpt.protocol import checkpoint_to_json, run_to_json
from ckpt.records import Checkpoint, Record, Run, Verdict
from ckpt.retention import GUESS, Layer, Merged, RunPlan, Situation


class Wishes(Record, frozen=True, kw_only=True):
    """What a run itself says of what is to be kept, as given fields of a policy."""

    own: dict[str, Any] = msgspec.field(default_factory=dict)
    """The policy in run.json; of a foreign run only its trainer's monitor and mode."""
    origin: str = "run.json"
    """Where that stands: `run.json` or `trainer`."""
    guessed: dict[str, Any] = msgspec.field(default_factory=dict)
    """Where nothing names a metric to compare by: the monitor and the mode that are likely."""
    said: dict[str, Any] = msgspec.field(default_factory=dict)
    """What `ckpt policy set` said of this run."""
    doubt: str | None = None
    """Why nothing of it may be removed, whatever a policy from elsewhere says: its own wishes cannot be read."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The policy where nothing above the run has a say."""
        return *self.weakest, ("command", self.said)

    @property
    def weakest(self) -> tuple[Layer, ...]:
        """What every other place goes before: a guess, if it takes one, and what the run itself says."""
        guess: tuple[Layer, ...] = ((GUESS, self.guessed),) if self.guessed else ()
        return *guess, (self.origin, self.own)


class RunView(Record, frozen=True, kw_only=True):
    """A run, its checkpoints newest first, and the plan of its policy."""

    run: Run
    checkpoints: tuple[Checkpoint, ...]
    plan: RunPlan
    wishes: Wishes = Wishes()
    situation: Situation = Situation()
    origins: dict[str, str] = msgspec.field(default_factory=dict)
    """Where each given field of the policy comes from."""

    @property
    def followed(self) -> Layer:
        """The metric that the run is compared by now, as a layer below a policy that is only tried."""
        monitor = {} if self.run.monitor is None else {"monitor": self.run.monitor, "mode": self.run.mode}
        return GUESS if self.situation.guessed else "the run", monitor

    def verdict(self, checkpoint: str) -> Verdict | None:
        """What the policy makes of a checkpoint, by its id; None when the plan does not speak of it."""
        for decision in (*self.plan.keep, *self.plan.remove, *self.plan.skip):
            if decision.checkpoint.id == checkpoint:
                return decision.verdict
        return None


def with_marks(checkpoint: Checkpoint, marks: Marks) -> Checkpoint:
    """The record with what was said of the checkpoint; itself when nothing was."""
    if checkpoint.id not in marks.mentioned:
        return checkpoint
    said = marks.of(checkpoint.id)
    changed: Checkpoint = checkpoint.evolve(
        tags=said.tags,
        pinned=said.pinned,
        note=said.note,
        metrics={**checkpoint.metrics, **{name: late.value for name, late in said.metrics.items()}},
        measured={name: late.step for name, late in said.metrics.items() if late.step is not None},
        held_by=(*checkpoint.held_by, *(f"parent of {printable(name)}" for name in said.forks)),
    )
    return changed


def assemble(
    run: Run,
    checkpoints: Sequence[Checkpoint],
    wishes: Wishes,
    merged: Merged,
    now: float,
    *,
    situation: Situation,
    size: int | None = None,
    unique: int | None = None,
) -> RunView:
    """The run with its moving tags, its plan and its totals. Records that do not change are shared, not copied.

    `size` is what its checkpoints take together where some of them share files, `unique` what of that is free again
    when all of them are gone; None where they share nothing.
    """
    ordered, policy = refs.newest_first(checkpoints), merged.policy
    if wishes.doubt is not None and situation.degraded is None:
        situation = situation.evolve(degraded=wishes.doubt)
    moving = retention.moving_tags(ordered, policy)
    tagged = tuple(c.evolve(tags=tuple(sorted({*c.tags, *moving[c.id]}))) if c.id in moving else c for c in ordered)
    latest = next((c.id for c in tagged if c.state == "complete"), None)
    best = [] if policy.unmonitored else refs.best_first(tagged, policy.metric, policy.mode)[:1]
    full: Run = run.evolve(
        checkpoints=len(tagged),
        bytes=sum(c.bytes for c in tagged) if size is None else size,
        unique_bytes=sum(c.unique_bytes or 0 for c in tagged) if unique is None else unique,
        latest=latest,
        best=best[0].id if best else None,
    )
    return RunView(
        run=full,
        checkpoints=tagged,
        plan=retention.plan(tagged, policy, now, situation=situation),
        wishes=wishes,
        situation=situation,
        origins=merged.origins,
    )


def governed(view: RunView, merged: Merged, situation: Situation, now: float) -> RunView:
    """The same run under another policy or in another situation, planned anew; nothing is read."""
    plain = [_without_moving_tags(c) for c in view.checkpoints]
    run = view.run.evolve(monitor=merged.policy.monitor, mode=merged.policy.mode)
    return assemble(
        run, plain, view.wishes, merged, now, situation=situation, size=view.run.bytes, unique=view.run.unique_bytes
    )


def _without_moving_tags(checkpoint: Checkpoint) -> Checkpoint:
    tags = tuple(tag for tag in checkpoint.tags if not refs.RESERVED_TAG.match(tag))
    changed: Checkpoint = checkpoint if tags == checkpoint.tags else checkpoint.evolve(tags=tags)
    return changed


def run_view_to_json(view: RunView) -> dict[str, Any]:
    """`ckpt ls RUN --json`: the run, its checkpoints with verdicts, and its policy."""
    verdicts = {
        decision.checkpoint.id: decision.verdict for decision in (*view.plan.keep, *view.plan.remove, *view.plan.skip)
    }
    return {
        "run": run_to_json(view.run),
        "checkpoints": [checkpoint_to_json(c, verdicts.get(c.id)) for c in view.checkpoints],
        "policy": view.plan.policy.to_json(),
    }
