"""What the name of a checkpoint tells: the last resort for step and epoch, where its content is silent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Named:
    """Facts in a name; None and {} where it holds none."""

    step: int | None = None
    epoch: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


_STEP = re.compile(r"(?:^|[-_.=/])(?:global_?)?(?:step|steps|iter|iteration|ba|batch|it)[-_=]?(\d{1,12})(?!\d)", re.I)
_STEP_AFTER = re.compile(r"(?:^|[-_])(\d{1,12})[-_]?(?:steps?|iters?)(?:$|[-_.])", re.I)
_CHECKPOINT = re.compile(r"^(?:checkpoint|ckpt|model)[-_](\d{1,12})(?:$|\.)", re.I)
_EPOCH = re.compile(r"(?:^|[-_.=/])(?:epochs?|ep)[-_=]?(\d{1,9})(?!\d)", re.I)
_VALUE = re.compile(r"(?:^|[-_,])([A-Za-z][A-Za-z0-9_/]{0,60})=(-?\d{1,12}(?:\.\d{1,12})?(?:e[+-]?\d{1,3})?)", re.I)


def from_name(name: str) -> Named:
    """Step, epoch and `metric=value` pairs in the last part of a path, its suffix included or not."""
    step = _whole(_STEP, name) or _whole(_STEP_AFTER, name) or _whole(_CHECKPOINT, name)
    epoch = _whole(_EPOCH, name)
    metrics: dict[str, float] = {}
    for key, value in _VALUE.findall(name):
        if key.lower() not in ("epoch", "step", "iter", "iteration"):
            metrics[key] = float(value)
    return Named(step[0] if step else None, float(epoch[0]) if epoch else None, metrics)


def _whole(pattern: re.Pattern[str], name: str) -> tuple[int] | None:
    found = pattern.search(name)
    return None if found is None else (int(found[1]),)
