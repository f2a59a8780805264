"""A curve in braille dots, with the run's checkpoints marked along its x axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from ckpt_tui.dashboard.widgets import braille
from ckpt_tui.dashboard.widgets.tones import tones_of
from ckpt_tui.dashboard.widgets.vtable import fitted
from ckpt_tui.wording import number_text

LABEL = 8  # characters before the y axis
FOOT = 3  # lines below the curve: axis, marks, ticks


@dataclass(frozen=True)
class Mark:
    """A checkpoint on the x axis."""

    step: int
    glyph: str
    tone: str
    weight: int = 0
    """Of several in one column the heaviest is shown."""


@dataclass(frozen=True)
class _Drawing:
    """A finished chart: text lines, and what is laid over them."""

    x: braille.Scale
    y: braille.Scale
    rows: list[str]
    labels: dict[int, str]
    feet: str
    missing: frozenset[int]
    marks: dict[int, Mark]
    """By character column, the heaviest of each."""


class Chart(Widget, can_focus=True):
    """One metric of one run over its steps. Points are given in order of step; values may be NaN or infinite."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._points: Sequence[tuple[int, float]] = ()
        self._marks: Sequence[Mark] = ()
        self._guide: int | None = None
        self._log = False
        self._empty = ""
        self._drawing: _Drawing | None = None
        self._tones: dict[str, Style] = {}
        self._drawn_for: tuple[int, int] = (0, 0)

    def show(self, points: Sequence[tuple[int, float]], marks: Sequence[Mark], *, log: bool, empty: str = "") -> None:
        """Draws other points; `empty` is said when none of them can be drawn."""
        self._points, self._marks, self._log, self._empty = points, marks, log, empty
        self._drawing = None
        self.refresh()

    def set_guide(self, step: int | None) -> None:
        """Draws a line up from one step: the checkpoint under the cursor."""
        if step != self._guide:
            self._guide = step
            self.refresh()

    def _draw(self) -> _Drawing | None:
        width, height = self.size.width - LABEL - 1, self.size.height - FOOT
        if self._drawing is not None and self._drawn_for == (width, height):
            return self._drawing
        self._drawing = None
        self._drawn_for = (width, height)
        if width < 4 or height < 1:
            return None
        log = self._log
        values = [value for _, value in self._points if braille.usable(value, log=log)]
        if not values:
            return None
        steps = [step for step, _ in self._points] + [mark.step for mark in self._marks]
        x = braille.scale_of([float(min(steps)), float(max(steps))])
        if min(steps) == max(steps):
            x = braille.Scale(min(steps) - 1.0, min(steps) + 1.0)
        y = braille.scale_of(values, log=log)
        labels: dict[int, str] = {}
        for tick in braille.ticks(y, max(1, height // 3)):
            row = (height * 4 - 1 - round(y.share(tick) * (height * 4 - 1))) // 4
            labels.setdefault(row, braille.tick_text(tick))
        missing = {
            cell
            for step, value in self._points
            if not math.isfinite(value) and (cell := braille.cell_of(step, x, width)) is not None
        }
        rows = braille.draw(self._points, x, y, width, height)
        self._drawing = _Drawing(
            x, y, rows, labels, _feet(x, width), frozenset(missing), _heaviest(self._marks, x, width)
        )
        return self._drawing

    def notify_style_update(self) -> None:
        """Forgets styles of the theme before."""
        super().notify_style_update()
        self._tones.clear()

    def _style(self, tone: str) -> Style:
        if not self._tones:
            self._tones = tones_of(self)
        return self._tones[tone]

    def render_line(self, y: int) -> Strip:
        """Line `y`: the curve, then axis, marks and ticks."""
        width = self.size.width
        drawing = self._draw()
        text = self._style("")
        if drawing is None:
            return self._empty_line(y, width, text)
        height = len(drawing.rows)
        guide = None if self._guide is None else braille.cell_of(self._guide, drawing.x, width - LABEL - 1)
        if y < height:
            label = drawing.labels.get(y, "")
            axis = "┤" if label else "│"
            segments = [
                Segment(fitted(label, LABEL - 1, right=True) + " ", self._style("dim")),
                Segment(axis, self._style("faint")),
                *self._curve(drawing.rows[y], guide),
            ]
        elif y == height:
            segments = [
                Segment(" " * LABEL + "└", self._style("faint")),
                *self._axis(drawing, width - LABEL - 1),
            ]
        elif y == height + 1:
            segments = [Segment(" " * (LABEL + 1), text), *self._mark_line(drawing)]
        elif y == height + 2:
            segments = [Segment(" " * LABEL + drawing.feet, self._style("dim"))]
        else:
            segments = []
        return Strip(segments).crop_extend(0, width, text)

    def _curve(self, row: str, guide: int | None) -> list[Segment]:
        line = self._style("line")
        if guide is None:
            return [Segment(row, line)]
        at = row[guide]
        middle = Segment("┊", self._style("accent")) if at == " " else Segment(at, self._style("accent"))
        return [Segment(row[:guide], line), middle, Segment(row[guide + 1 :], line)]

    def _axis(self, drawing: _Drawing, width: int) -> list[Segment]:
        axis, bad = self._style("faint"), self._style("bad")
        return [Segment("×", bad) if i in drawing.missing else Segment("─", axis) for i in range(width)]

    def _mark_line(self, drawing: _Drawing) -> list[Segment]:
        text = self._style("")
        segments, at = [], 0
        for cell, mark in sorted(drawing.marks.items()):
            segments.append(Segment(" " * (cell - at), text))
            segments.append(Segment(mark.glyph, self._style(mark.tone)))
            at = cell + 1
        return segments

    def _empty_line(self, y: int, width: int, style: Style) -> Strip:
        lines = self._empty.splitlines()
        top = max(0, (self.size.height - len(lines)) // 3)
        line = lines[y - top] if 0 <= y - top < len(lines) else ""
        return Strip([Segment(line.center(width), self._style("dim"))]).crop_extend(0, width, style)


def _heaviest(marks: Sequence[Mark], x: braille.Scale, width: int) -> dict[int, Mark]:
    shown: dict[int, Mark] = {}
    for mark in marks:
        cell = braille.cell_of(mark.step, x, width)
        if cell is not None and (cell not in shown or mark.weight >= shown[cell].weight):
            shown[cell] = mark
    return shown


def thinned(marks: Sequence[Mark], most: int = 1000) -> list[Mark]:
    """At most about `most` marks, evenly over their steps, the heaviest of those that fall together."""
    if len(marks) <= most:
        return list(marks)
    low, high = min(m.step for m in marks), max(m.step for m in marks)
    width = max(1, (high - low) // most)
    kept: dict[int, Mark] = {}
    for mark in marks:
        bucket = (mark.step - low) // width
        if bucket not in kept or mark.weight > kept[bucket].weight:
            kept[bucket] = mark
    return list(kept.values())


def _feet(x: braille.Scale, width: int) -> str:
    """Labels of the x axis, each centred under its place, none over another."""
    cells = [" "] * (width + 1)
    free = 0
    for tick in braille.ticks(x, max(1, width // 12)):
        label = braille.tick_text(tick) if tick else "0"
        cell = braille.cell_of(tick, x, width)
        if cell is None:
            continue
        start = max(0, min(cell + 1 - len(label) // 2, width + 1 - len(label)))
        if start >= free:
            cells[start : start + len(label)] = label
            free = start + len(label) + 1
    return "".join(cells)


def describe(points: Sequence[tuple[int, float]]) -> str:
    """Last and extreme values of a curve, and how many are not finite, for its title; "" without points."""
    if not points:
        return ""
    finite = [value for _, value in points if math.isfinite(value)]
    text = f"last {number_text(points[-1][1])}"
    if finite:
        text += f" · min {number_text(min(finite))} · max {number_text(max(finite))}"
    broken = len(points) - len(finite)
    return text + (f" · {broken} not finite" if broken else "")
