"""The size of a run: what no rule keeps stays while there is room, and the oldest of it goes when there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ckpt.records import Checkpoint, Reason
from ckpt.retention.policy import BUDGET_START, BUDGET_STOP, Policy
from ckpt.retention.quantities import size_text
from ckpt.retention.words import percent


@dataclass(frozen=True)
class Room:
    """What a budget makes of the places that no rule keeps."""

    stays: dict[int, Reason] = field(default_factory=dict)
    goes: dict[int, Reason] = field(default_factory=dict)
    """Place to how near it came."""


def freed(checkpoint: Checkpoint) -> int:
    """Bytes that are free again when a checkpoint alone is gone."""
    return checkpoint.bytes if checkpoint.unique_bytes is None else checkpoint.unique_bytes


def room(newest: Sequence[Checkpoint], left_over: Sequence[int], policy: Policy) -> Room | None:
    """Which of the places that no rule and no floor keeps stay all the same; None where the policy has no budget.

    `newest` are all checkpoints that a plan decides on, `left_over` ascending places in it.
    """
    limit = policy.max_bytes
    if limit is None:
        return None
    used = sum(map(freed, newest))
    of = f"of {size_text(limit)}"
    if used <= BUDGET_START * limit:
        reason = Reason(rule="max_bytes", text=f"max_bytes: room, {percent(used / limit)} {of} used", limit=limit)
        return Room(stays=dict.fromkeys(left_over, reason))
    goes: dict[int, Reason] = {}
    remaining = used
    share = percent(used / limit)
    for place in reversed(left_over):
        if remaining <= BUDGET_STOP * limit:
            break
        going = freed(newest[place])
        if not going:
            continue  # nothing is gained by it
        remaining -= going
        rank = len(goes) + 1
        text = f"max_bytes: {share} {of} used, oldest #{rank} of what no rule keeps"
        goes[place] = Reason(rule="max_bytes", text=text, rank=rank, limit=limit)
    text = f"max_bytes: room, {percent(remaining / limit)} {of} used when older ones are gone"
    reason = Reason(rule="max_bytes", text=text, limit=limit)
    return Room(stays={place: reason for place in left_over if place not in goes}, goes=goes)


def over(inside: Iterable[Checkpoint], remove: Iterable[Checkpoint], policy: Policy) -> int:
    """By how many bytes what stays is more than the budget."""
    if policy.max_bytes is None:
        return 0
    return max(0, sum(map(freed, inside)) - sum(map(freed, remove)) - policy.max_bytes)
