"""What a plan does not decide on, and why: it counts for no rule, so that nothing goes on account of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ckpt import refs
from ckpt.encoding import printable
from ckpt.records import Checkpoint, Reason
from ckpt.retention.floor import touched
from ckpt.retention.policy import Policy
from ckpt.retention.quantities import duration_text
from ckpt.retention.recognising import unknown
from ckpt.retention.situation import Situation

SETTLE_S = 60.0
"""For so long nothing of a foreign checkpoint was touched before it counts as one, whatever `min_age` is."""

_STATES = {
    "writing": "still being written",
    "incomplete": "incomplete",
    "corrupt": "unreadable",
    "trashed": "already in the trash",
}


@dataclass(frozen=True)
class Divided:
    """The checkpoints of a run."""

    inside: list[Checkpoint]
    """Newest first."""
    outside: dict[str, tuple[Reason, ...]]
    """Id to why the plan does not decide on it."""
    settling: list[Checkpoint] = field(default_factory=list)
    """Those outside that only have to settle."""
    changes_at: float | None = None
    """When one more has settled (Unix seconds)."""


def unfinished(checkpoint: Checkpoint) -> Reason | None:
    """Why a checkpoint is not complete; None when it is."""
    state = checkpoint.state
    if state == "complete":
        return None
    detail = f": {printable(checkpoint.problems[0])}" if checkpoint.problems else ""
    return Reason(rule=state, text=_STATES[state] + detail)


def divide(ordered: Sequence[Checkpoint], policy: Policy, now: float, situation: Situation) -> Divided:
    """What a plan decides on and what it does not, from checkpoints newest first.

    Of an own run all that is complete is inside.
    """
    complete = [checkpoint for checkpoint in ordered if checkpoint.state == "complete"]
    outside: dict[str, tuple[Reason, ...]] = {}
    if len(complete) < len(ordered):
        outside = {c.id: (reason,) for c in ordered if (reason := unfinished(c)) is not None}
    if situation.own:
        return Divided(complete, outside)
    strange = {} if situation.named and policy.include_unknown else unknown(complete)
    settling, settled_at = [], math.inf
    for checkpoint in complete:
        reasons = []
        end = touched(checkpoint) + SETTLE_S
        if not end <= now:
            settled_at = min(settled_at, end)
            reasons.append(Reason(rule="settling", text=_settling(now - touched(checkpoint))))
        if checkpoint.id in strange:
            text = f"not a known training checkpoint: {strange[checkpoint.id]}"
            reasons.append(Reason(rule="unknown", text=text))
        elif reasons:
            settling.append(checkpoint)
        if reasons:
            outside[checkpoint.id] = tuple(reasons)
    inside = [checkpoint for checkpoint in complete if checkpoint.id not in outside]
    if len(inside) < len(complete):
        # Ordered anew: how the others are ordered must not depend on a file that is none of them.
        inside = refs.newest_first(inside)
    return Divided(inside, outside, settling, settled_at if settled_at < math.inf else None)


def _settling(age: float) -> str:
    if not math.isfinite(age):
        return "settling: its time is no time"
    if age < 0:
        return f"settling: its time is {duration_text(math.ceil(-age))} ahead of the clock"
    return f"settling: written {age:.0f} s ago (needs {SETTLE_S:.3g} s)"
