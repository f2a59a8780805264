"""Line charts out of braille dots: pure functions from points to characters.

A cell of the terminal holds 2 x 4 dots. Points are bucketed to the least and greatest value of each column of dots
first, so the cost of drawing follows the width of the chart and no spike is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and row of a cell
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Bucket:
    """What falls into one column of dots: first, least, greatest and last value."""

    column: int
    first: float
    low: float
    high: float
    last: float


@dataclass(frozen=True)
class Scale:
    """A stretch of an axis, and how values turn into positions on it."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Position of a value between 0 (low) and 1 (high); outside of that for values outside."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


def usable(value: float, *, log: bool) -> bool:
    """Whether a value has a place on the axis."""
    return math.isfinite(value) and (not log or value > 0)


def scale_of(values: Sequence[float], *, log: bool = False, pad: float = 0.0) -> Scale:
    """The scale that holds all usable values, widened by `pad` of its length; a lone value gets room around it."""
    kept = [v for v in values if usable(v, log=log)]
    low, high = (min(kept), max(kept)) if kept else (1.0, 10.0)
    if low == high:
        margin = abs(low) * 0.5 or 1.0
        low, high = (low / 2, high * 2) if log else (low - margin, high + margin)
    elif pad and not log:
        margin = (high - low) * pad
        low, high = low - margin, high + margin
    return Scale(low, high, log)


def buckets(points: Sequence[Point], x: Scale, columns: int, *, log: bool = False) -> list[Bucket]:
    """Points (by x) as at most `columns` buckets; values that have no place on the axis are passed over."""
    if columns <= 0:
        return []
    out: list[Bucket] = []
    left, factor = x.low, (columns - 1) / (x.high - x.low)
    current = -1
    first = low = high = last = 0.0
    isfinite = math.isfinite
    for at, value in points:
        if not isfinite(value) or (log and value <= 0):
            continue
        column = int((at - left) * factor + 0.5)
        if column == current:
            last = value
            if value < low:
                low = value
            elif value > high:
                high = value
            continue
        if current >= 0:
            out.append(Bucket(current, first, low, high, last))
        if 0 <= column < columns:
            current = column
            first = low = high = last = value
        else:
            current = -1
    if current >= 0:
        out.append(Bucket(current, first, low, high, last))
    return out


class Canvas:
    """A field of braille cells, `width` x `height` characters."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._cells = [[0] * width for _ in range(height)]

    def dot(self, x: int, y: int) -> None:
        """Sets a dot; x from the left, y from the top; outside of the field nothing happens."""
        if 0 <= x < self.width * 2 and 0 <= y < self.height * 4:
            self._cells[y >> 2][x >> 1] |= _DOTS[x & 1][y & 3]

    def column(self, x: int, top: int, bottom: int) -> None:
        """Sets all dots of one column between two rows, both included."""
        for y in range(min(top, bottom), max(top, bottom) + 1):
            self.dot(x, y)

    def line(self, x0: int, y0: int, x1: int, y1: int) -> None:
        """Sets the dots of a straight line."""
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for i in range(steps + 1):
            self.dot(round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps))

    def rows(self) -> list[str]:
        """The field as text, a string a line; empty cells are spaces."""
        return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in self._cells]


def draw(points: Sequence[Point], x: Scale, y: Scale, width: int, height: int) -> list[str]:
    """A line through the points, as `height` strings of `width` characters."""
    canvas = Canvas(width, height)
    bottom = height * 4 - 1
    previous: tuple[int, int] | None = None
    for bucket in buckets(points, x, width * 2, log=y.log):
        row = [bottom - round(y.share(v) * bottom) for v in (bucket.first, bucket.low, bucket.high, bucket.last)]
        if previous is not None:
            canvas.line(*previous, bucket.column, row[0])
        canvas.column(bucket.column, row[1], row[2])
        previous = (bucket.column, row[3])
    return canvas.rows()


def cell_of(value: float, scale: Scale, width: int) -> int | None:
    """The character column of a value on an axis of `width` characters; None when it lies outside."""
    share = scale.share(value)
    return round(share * (width * 2 - 1)) // 2 if 0 <= share <= 1 else None


def ticks(scale: Scale, wanted: int) -> list[float]:
    """Round values on a scale, about `wanted` of them."""
    if wanted < 1:
        return []
    if scale.log:
        low, high = math.ceil(math.log10(scale.low) - 1e-9), math.floor(math.log10(scale.high) + 1e-9)
        if high > low:
            stride = max(1, -(-(high - low) // wanted))
            return [10.0**power for power in range(low, high + 1, stride)]
    raw = (scale.high - scale.low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in _STEPS if s * power >= raw * 0.999)
    first = math.ceil(scale.low / step - 1e-9)
    last = math.floor(scale.high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A tick's label: 0.5, 12, 1k, 2.5M, 1e-05."""
    size = abs(value)
    for limit, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            unit = 1e3 if name == "k" else limit
            return f"{value / unit:.4g}{name}"
    return f"{value:.4g}" if size >= 1e-3 or value == 0 else f"{value:.0e}"
