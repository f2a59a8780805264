"""Metrics over steps, thinned while they are collected, so that any number of rows takes bounded memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from ckpt.encoding import printable
from ckpt.scan.live.rows import MAX_METRICS, Row

TOTAL_POINTS = 1_000_000
"""Points of all metrics of a run together."""


class Series:
    """The points of one metric in the order of their steps, one a step: the last that was written."""

    __slots__ = ("_last", "_passed", "_steps", "_stride", "_values", "lowest")

    def __init__(self) -> None:
        self._steps = array("q")
        self._values = array("d")
        self._last: tuple[int, float] | None = None
        self._stride = 1
        self._passed = 0
        self.lowest: int | None = None
        """The lowest step that was ever added."""

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: int, value: float, limit: int) -> None:
        """One more point; what lies at its step and beyond it was abandoned."""
        last = self._last
        if last is None or last[0] >= step:
            self.cut(step)
            self.lowest = step if self.lowest is None else min(step, self.lowest)
        self._last = (step, value)
        if self._passed % self._stride == 0:
            self._steps.append(step)
            self._values.append(value)
            if len(self._steps) >= 2 * limit:
                self._steps, self._values = self._steps[::2], self._values[::2]
                self._stride *= 2
        self._passed += 1

    def cut(self, step: int) -> None:
        """Forgets the points at a step and beyond it."""
        if self._last is None or self._last[0] < step:
            return
        kept = bisect_left(self._steps, step)
        if kept < len(self._steps):
            del self._steps[kept:], self._values[kept:]
            self._passed = kept * self._stride
        elif self._passed % self._stride != 1 % self._stride:
            # How many of the points since the last that was kept go is not known; the one that is replaced does.
            self._passed -= 1
        self._last = (self._steps[-1], self._values[-1]) if kept else None

    def points(self, limit: int) -> list[tuple[int, float]]:
        """At most `limit` points and the last."""
        stride = max(1, -(-len(self._steps) // limit))
        kept = list(zip(self._steps[::stride], self._values[::stride], strict=True))
        if self._last is not None and (not kept or kept[-1][0] != self._last[0]):
            kept.append(self._last)
        return kept


class Collected:
    """The series of one file, or of several that follow each other.

    `together`: all metrics lie over one axis, so a row that goes back abandons the later points of every metric. Else
    each metric has its own.
    """

    def __init__(self, points: int, *, together: bool) -> None:
        self.series: dict[str, Series] = {}
        self.lowest: int | None = None
        self._restart: int | None = None
        self._points = points
        self._together = together
        self._reached: int | None = None

    @property
    def limit(self) -> int:
        """Points that one series may have."""
        return max(2, min(self._points, TOTAL_POINTS // max(1, len(self.series))))

    @property
    def held(self) -> int:
        """Points that are held now."""
        return sum(map(len, self.series.values()))

    def add(self, row: Row) -> None:
        """The values of one more row."""
        if row.restart or (self._together and self._reached is not None and row.step < self._reached):
            self._cut(row.step)
        if row.restart:
            self._restart = row.step if self._restart is None else min(row.step, self._restart)
        self._reached = row.step
        if self.lowest is None or row.step < self.lowest:
            self.lowest = row.step
        limit = self.limit
        for name, value in row.values.items():
            series = self.series.get(name)
            if series is None:
                series = self._begun(name)
            if series is not None:
                series.add(row.step, value, limit)

    def follow(self, later: Collected) -> None:
        """Adds what was collected of a later file; the steps from which that one began again were abandoned."""
        began = later.lowest if self._together else later._restart
        if began is not None:
            self._cut(began)
        for name, added in later.series.items():
            series = self.series.get(name)
            if series is None:
                series = self._begun(name)
            if series is None or added.lowest is None:
                continue
            series.cut(added.lowest)
            for step, value in added.points(later.limit):
                series.add(step, value, self.limit)
        self._reached = later._reached if later._reached is not None else self._reached
        if later.lowest is not None and (self.lowest is None or later.lowest < self.lowest):
            self.lowest = later.lowest

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Every metric that has points, its name as it can be shown."""
        limit = self.limit
        shown = {printable(name): series.points(limit) for name, series in self.series.items()}
        return {name: points for name, points in shown.items() if points}

    def _begun(self, name: str) -> Series | None:
        """A new series; None where there are as many as are read."""
        if len(self.series) >= MAX_METRICS:
            return None
        series = self.series[name] = Series()
        return series

    def _cut(self, step: int) -> None:
        for series in self.series.values():
            series.cut(step)
