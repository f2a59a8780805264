"""What differs between the curves of two runs, told by where each metric ended and how far it went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Step and value of every point, by metric."""


def curve_changes(a: Curves, b: Curves) -> list[dict[str, Any]]:
    """The metrics whose curves differ, by name: {"key", "a", "b"}.

    Each side is {"points", "last_step", "last", "min", "max"}, or None for a run that lacks the metric. Minimum and
    maximum are over the finite values; a number that is not finite is None.
    """
    return [
        {"key": name, "a": _summary(a.get(name)), "b": _summary(b.get(name))}
        for name in sorted({*a, *b})
        if _comparable(a.get(name)) != _comparable(b.get(name))
    ]


def _summary(curve: Sequence[tuple[int, float]] | None) -> dict[str, Any] | None:
    if not curve:
        return None
    finite = [value for _, value in curve if math.isfinite(value)]
    step, last = curve[-1]
    return {
        "points": len(curve),
        "last_step": step,
        "last": last if math.isfinite(last) else None,
        "min": min(finite, default=None),
        "max": max(finite, default=None),
    }


def _comparable(curve: Sequence[tuple[int, float]] | None) -> list[tuple[int, float | None]]:
    """The points with NaN equal to itself."""
    return [(step, None if math.isnan(value) else value) for step, value in curve or ()]
