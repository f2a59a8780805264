"""Where a self-test saves and where it kills, from what the uninterrupted training did."""

from __future__ import annotations

import random

from ckpt.exceptions import UsageError
from ckpt.records import Record
from ckpt.selftest.recording_file import Recording

_FAR = 5
"""The kill comes at most so many steps behind the save, so that there is enough to compare."""


class Moments(Record, frozen=True, kw_only=True):
    """The steps of a self-test at which something happens."""

    save_at: int
    kill_at: int


def choose(reference: Recording, save_at: int | None, kill_at: int | None, chance: random.Random) -> Moments:
    """The save, by chance in the first half and in the midst of an epoch where that can be, and the kill behind it.

    No save of the training's own comes between them, if that can be. Raises UsageError for steps that the training
    does not have.
    """
    steps = sorted(reference.steps)
    if len(steps) < 2:
        raise UsageError(
            f"the script made {len(steps)} of the 2 steps that are needed: one to save and one to compare",
            hint="let it train longer, by its own arguments behind --",
        )
    for name, step in (("--save-at", save_at), ("--kill-at", kill_at)):
        if step is not None and step not in reference.steps:
            raise UsageError(f"{name} is {step}, and the steps are {steps[0]} to {steps[-1]}")
    before = [step for step in steps[:-1] if kill_at is None or step < kill_at]
    if not reference.has("asks"):
        # Nothing can make this training save but itself.
        before = [step for step in before if step in reference.of("saved")]
        if not before:
            raise UsageError(
                f"the script saved no checkpoint in its {len(steps)} steps that a resume could start from",
                hint="ask CheckpointManager.should_save_checkpoint(state) at every step, or give --steps more",
            )
    if not before or (save_at is not None and save_at not in before):
        raise UsageError(
            "the kill has to come behind the save, and the save before the last step",
            hint=f"the steps are {steps[0]} to {steps[-1]}",
        )
    if save_at is None:
        half = [step for step in before if step <= steps[(len(steps) - 1) // 2]] or before[:1]
        amid = [step for step in half if _amid(reference, steps, step)] or half
        # Behind the first epoch more is there to be forgotten.
        later = [step for step in amid if reference.steps[step].epoch > reference.steps[steps[0]].epoch]
        save_at = chance.choice(later or amid)
    if kill_at is None:
        behind = [step for step in steps if step > save_at]
        own = min((step for step in reference.of("saved") if step > save_at), default=behind[-1])
        kill_at = chance.choice([step for step in behind[:_FAR] if step <= max(own, behind[0])])
    return Moments(save_at=save_at, kill_at=kill_at)


def _amid(reference: Recording, steps: list[int], step: int) -> bool:
    """Whether the epoch goes on behind a step."""
    following = steps[steps.index(step) + 1]
    return reference.steps[step].epoch == reference.steps[following].epoch
