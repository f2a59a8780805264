"""The losses of the epoch under way: their mean is the same bits whether or not a training stopped within it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class EpochLoss:
    """Adds up losses without an error of rounding: what is kept of them is a few numbers, however many there were."""

    def __init__(self, saved: Any = None) -> None:
        self.count = 0
        self.last = math.nan
        """The newest; NaN before the first."""
        self._sum: list[float] = []
        """Numbers that do not overlap and have the sum of all losses but the newer ones."""
        self._newer: list[float] = []
        self._is_finite = True
        if _is_plain(saved):
            self.count, self.last, self._is_finite = saved["count"], saved["last"], saved["is_finite"]
            self._sum = list(saved["sum"])

    def add(self, loss: float) -> None:
        """Takes one more loss."""
        self.count += 1
        self.last = loss
        if math.isfinite(loss):
            self._newer.append(loss)
        else:
            self._is_finite = False

    @property
    def mean(self) -> float:
        """The mean, rounded once; NaN before the first loss, and when one of them is NaN or infinite."""
        if not self.count or not self._is_finite:
            return math.nan
        return math.fsum([*self._sum, *self._newer]) / self.count

    def clear(self) -> None:
        """Begins anew."""
        self.count, self.last, self._is_finite = 0, math.nan, True
        self._sum, self._newer = [], []

    def to_plain(self) -> dict[str, Any] | None:
        """What `EpochLoss` takes back; None before the first loss."""
        if not self.count:
            return None
        for loss in self._newer:
            _add_exactly(self._sum, loss)
        self._newer.clear()
        return {"sum": list(self._sum), "count": self.count, "last": self.last, "is_finite": self._is_finite}


def _add_exactly(parts: list[float], number: float) -> None:
    """Adds a number to an exact sum of floats that do not overlap, by Shewchuk's way, which `math.fsum` goes too."""
    kept = 0
    for part in parts:
        if abs(number) < abs(part):
            number, part = part, number
        high = number + part
        low = part - (high - number)
        if low:
            parts[kept] = low
            kept += 1
        number = high
    parts[kept:] = [number]


def _is_plain(saved: Any) -> bool:
    """Whether this is what `to_plain` makes."""
    if not isinstance(saved, Mapping):
        return False
    parts, count = saved.get("sum"), saved.get("count")
    are_numbers = isinstance(parts, list) and all(type(part) is float and math.isfinite(part) for part in parts)
    is_counted = type(count) is int and count > 0
    return are_numbers and is_counted and type(saved.get("last")) is float and type(saved.get("is_finite")) is bool
