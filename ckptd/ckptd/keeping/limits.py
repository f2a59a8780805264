"""How much may be removed unasked at once: what guards against one wrong line in a policy. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt.retention import RunPlan
from ckpt.retention.quantities import size_text
from ckptd.config.values import Limits


def above_for_run(plan: RunPlan, limits: Limits) -> str | None:
    """Why the plan of one run is not carried out unasked; None when it stays below the limits."""
    count = len(plan.remove)
    size = sum(decision.checkpoint.bytes for decision in plan.remove)
    if count > limits.removals_per_run:
        return f"{count} checkpoints of one run at once, and {limits.removals_per_run} is the limit"
    if size > limits.bytes_per_run:
        return f"{size_text(size)} of one run at once, and {size_text(limits.bytes_per_run)} is the limit"
    return None


def above_together(plans: Iterable[RunPlan], limits: Limits) -> str | None:
    """Why none of several plans is carried out unasked; None when they stay below the limit together."""
    wanted = [len(plan.remove) for plan in plans if plan.remove]
    if sum(wanted) <= limits.removals_per_pass:
        return None
    return f"{sum(wanted)} checkpoints of {len(wanted)} runs at once, and {limits.removals_per_pass} is the limit"
