"""Whether two looks at a run saw the same: equality in which a NaN equals a NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt.records import Record
from ckpt.scan import RunView

RESTLESS = ("updated_at", "epoch", "step", "loss")
"""Fields of a run that a training changes all the time."""


def same(one: RunView, other: RunView) -> bool:
    """Whether two looks saw the same. Plans follow from checkpoints, policy and situation and are not compared."""
    return (
        alike(one.run, other.run)
        and alike(one.checkpoints, other.checkpoints)
        and alike(one.wishes, other.wishes)
        and alike(one.plan.policy, other.plan.policy)
        and one.situation == other.situation
    )


def much_the_same(one: RunView, other: RunView) -> bool:
    """Whether two looks saw the same but for how far the training has come."""
    return same(_resting(one), _resting(other))


def alike(one: Any, other: Any) -> bool:
    """Equality of records and plain data in which a NaN equals a NaN."""
    if one is other or one == other:
        return True
    if isinstance(one, float):
        return isinstance(other, float) and one != one and other != other
    if type(one) is not type(other):
        return False
    if isinstance(one, Record):
        return all(alike(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return False


def _resting(view: RunView) -> RunView:
    changed: RunView = view.evolve(run=view.run.evolve(**dict.fromkeys(RESTLESS, 0)))
    return changed
