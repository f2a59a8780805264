"""What a self-test found."""

from __future__ import annotations

from typing import Any

from ckpt.records import Record
from ckpt.selftest import guidance
from ckpt.selftest.choosing import Moments
from ckpt.selftest.comparing import Comparison, Difference, ends_an_epoch
from ckpt.selftest.recording_file import Recording


class Verdict(Record, frozen=True, kw_only=True):
    """What a self-test found."""

    exact: bool
    steps: int
    """How many steps the uninterrupted training made."""
    saved_at_step: int
    """The step of the checkpoint that was resumed from, or would have been."""
    killed_at_step: int
    compared_steps: int
    """How many steps were compared behind the resume, the one that differs included."""
    first_difference: Difference | None
    compared_parts: tuple[str, ...]
    """What was compared at these steps: epoch, batch, random, loss, metrics, optimizer, weights …"""
    notes: tuple[str, ...]
    """What the difference usually means, and what was not compared."""

    def to_json(self) -> dict[str, Any]:
        """The shape of `ckpt selftest --json`."""
        found = self.first_difference
        return {
            "exact": self.exact,
            "steps": self.steps,
            "saved_at_step": self.saved_at_step,
            "killed_at_step": self.killed_at_step,
            "compared_steps": self.compared_steps,
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
            "notes": list(self.notes),
        }


def verdict_of(
    reference: Recording,
    moments: Moments,
    found: Comparison,
    notes: tuple[str, ...],
    resumed: Recording | None = None,
) -> Verdict:
    """The verdict on a comparison; without `resumed` two starts differed, and nothing was resumed."""
    went_on_from = None if resumed is None else resumed.went_on_from
    exact = found.difference is None
    untried = guidance.untried(found, ends_an_epoch(resumed)) if exact and resumed is not None else ()
    return Verdict(
        exact=exact,
        steps=len(reference.steps),
        saved_at_step=moments.save_at if went_on_from is None else went_on_from,
        killed_at_step=moments.kill_at,
        compared_steps=found.compared if resumed is not None else 0,
        first_difference=found.difference,
        compared_parts=found.parts,
        notes=(*guidance.advice(found), *guidance.forced(found, reference, moments.save_at), *untried, *notes),
    )
