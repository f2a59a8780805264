"""Where a self-test saves and where it kills, from what the uninterrupted training did."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ckpt.exceptions import UsageError
from ckpt.records import Record
from ckpt.selftest.recording_file import Recording

_FAR = 5
"""The kill comes at most so many steps behind the save, so that there is enough to compare."""


class Moments(Record, frozen=True, kw_only=True):
    """The steps of a self-test at which something happens."""

    save_at: int
    kill_at: int
    by_itself: bool = False
    """Whether it is left to the training to save there."""


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
        ends = reference.epoch_ends()
        half = _first_half(reference, before)
        save_at = chance.choice(_later(reference, [step for step in half if step not in ends] or half))
    if kill_at is None:
        kill_at = _kill_behind(reference, save_at, chance)
    return Moments(save_at=save_at, kill_at=kill_at)


def choose_own(reference: Recording, first: Moments, chance: random.Random) -> Moments | None:
    """One more save, where the training saves by itself: at the end of an epoch where it does.

    Where it does not, one behind which it reads the most: a validation that comes behind a save is forgotten. None when
    it saves nowhere, or when the first save was at such a place already.
    """
    ends = reference.epoch_ends()
    own = reference.own_saves
    places = [step for step in own if step in ends] or _busiest(reference, own)
    if not places or first.save_at in places:
        return None
    save_at = chance.choice(_later(reference, _first_half(reference, places)))
    return Moments(save_at=save_at, kill_at=_kill_behind(reference, save_at, chance), by_itself=True)


def _kill_behind(reference: Recording, save_at: int, chance: random.Random) -> int:
    behind = [step for step in sorted(reference.steps) if step > save_at]
    own = min((step for step in reference.of("saved") if step > save_at), default=behind[-1])
    return chance.choice([step for step in behind[:_FAR] if step <= max(own, behind[0])])


def _first_half(reference: Recording, places: Sequence[int]) -> Sequence[int]:
    steps = sorted(reference.steps)
    return [step for step in places if step <= steps[(len(steps) - 1) // 2]] or places[:1]


def _later(reference: Recording, places: Sequence[int]) -> Sequence[int]:
    """Those behind the first epoch, where more is there to be forgotten; all when there are none."""
    end = min(reference.epoch_ends(), default=reference.last or 0)
    return [step for step in places if step > end] or places


def _busiest(reference: Recording, places: Sequence[int]) -> Sequence[int]:
    """Those behind which most batches are read before the next step is done."""
    steps = sorted(reference.steps)
    read = {step: len(reference.steps[steps[steps.index(step) + 1]].batches) for step in places}
    return [step for step in places if read[step] == max(read.values())]
