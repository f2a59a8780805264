"""What a self-test found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckpt.records import Record
from ckpt.selftest import guidance
from ckpt.selftest.choosing import Moments
from ckpt.selftest.comparing import Comparison, Difference, Passed, ends_an_epoch, moving
from ckpt.selftest.recording_file import Recording


class Trial(Record, frozen=True, kw_only=True):
    """One kill, and what came of going on behind it."""

    saved_at_step: int
    """The step of the checkpoint that was resumed from, or would have been."""
    killed_at_step: int
    compared_steps: int
    """How many steps were compared behind the resume, the one that differs included."""
    own_save: bool
    """Whether the script saves at this step by itself."""
    epoch_end: bool
    """Whether an epoch is over behind this step."""


class Verdict(Record, frozen=True, kw_only=True):
    """What a self-test found."""

    exact: bool
    steps: int
    """How many steps the uninterrupted training made."""
    trials: tuple[Trial, ...]
    """In their order; the last is the one that differs, where one does."""
    first_difference: Difference | None
    compared_parts: tuple[str, ...]
    """What was compared in the last trial: epoch, batch, random, loss, metrics, optimizer, weights …"""
    notes: tuple[str, ...]
    """What the difference usually means, and what was not compared or tried."""

    def to_json(self) -> dict[str, Any]:
        """The shape of `ckpt selftest --json`; the steps beside `trials` are those of the last one."""
        found = self.first_difference
        last = self.trials[-1]
        return {
            "exact": self.exact,
            "steps": self.steps,
            "saved_at_step": last.saved_at_step,
            "killed_at_step": last.killed_at_step,
            "compared_steps": last.compared_steps,
            "first_difference": None
            if found is None
            else {
                "step": found.step,
                "what": found.what,
                "name": found.name,
                "reference": found.reference,
                "resumed": found.resumed,
                "between": found.between,
            },
            "compared_parts": list(self.compared_parts),
            "trials": [
                {
                    "saved_at_step": trial.saved_at_step,
                    "killed_at_step": trial.killed_at_step,
                    "compared_steps": trial.compared_steps,
                    "own_save": trial.own_save,
                    "epoch_end": trial.epoch_end,
                }
                for trial in self.trials
            ],
            "notes": list(self.notes),
        }


class Tried(Record, frozen=True, kw_only=True):
    """What the starts of one trial gave."""

    moments: Moments
    found: Comparison
    passed: Passed
    killed: Recording
    resumed: Recording | None = None
    """None when two starts differed, and nothing was resumed."""

    @property
    def saved_at(self) -> int:
        """The step of the checkpoint that was resumed from, or would have been."""
        went_on_from = None if self.resumed is None else self.resumed.went_on_from
        return self.moments.save_at if went_on_from is None else went_on_from


def verdict_of(reference: Recording, tried: Sequence[Tried]) -> Verdict:
    """The verdict on all trials, of which only the last may differ."""
    own, ends = reference.own_saves, reference.epoch_ends()
    last = tried[-1]
    passed = Passed(
        generators=tuple(dict.fromkeys(name for one in tried for name in one.passed.generators)),
        metrics=tuple(dict.fromkeys(name for one in tried for name in one.passed.metrics)),
    )
    if last.found.difference is None:
        resumed = [one.resumed for one in tried if one.resumed is not None]
        notes = (
            *guidance.untried([one.found for one in tried], any(map(ends_an_epoch, resumed))),
            *guidance.untried_saves(reference, [one.saved_at for one in tried]),
        )
    else:
        positions = (
            last.resumed is not None
            and last.killed.has_positions("saved", last.saved_at)
            and last.resumed.has_positions("read", last.saved_at)
        )
        notes = (
            *guidance.advice(last.found, positions=positions),
            *guidance.forced(last.found, reference, last.moments.save_at),
        )
    return Verdict(
        exact=last.found.difference is None,
        steps=len(reference.steps),
        trials=tuple(
            Trial(
                saved_at_step=one.saved_at,
                killed_at_step=one.moments.kill_at,
                compared_steps=one.found.compared if one.resumed is not None else 0,
                own_save=one.saved_at in own,
                epoch_end=one.saved_at in ends,
            )
            for one in tried
        ),
        first_difference=last.found.difference,
        compared_parts=last.found.parts,
        notes=(*notes, *guidance.said(reference, moving(reference, passed.generators), passed.metrics)),
    )
