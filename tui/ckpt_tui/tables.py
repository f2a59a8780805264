"""Plain text tables: aligned, cut to a terminal's width and never otherwise, safe to print."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ckpt.encoding import printable
from ckpt_tui.output import Paint

GAP = "  "
NARROWEST = 6  # columns that a shrunk column keeps


@dataclass(frozen=True)
class Column:
    """A column: its title ("" in a table without a head), side, and whether it may be cut to fit."""

    title: str = ""
    right: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Cell:
    """Text in a style of `Paint`."""

    text: str
    style: str = ""


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Cell]],
    *,
    paint: Paint,
    width: int | None = None,
    head: bool = True,
) -> list[str]:
    """The lines of a table.

    `width` is the number of columns of the terminal; then columns that may be cut are, widest first, with an ellipsis.
    None cuts nothing. Every cell is escaped here.
    """
    cells = [[_safe(cell) for cell in row] for row in rows]
    titles = [column.title for column in columns]
    widths = [
        max([text_width(title) if head else 0, *(text_width(row[i].text) for row in cells)])
        for i, title in enumerate(titles)
    ]
    if width is not None:
        widths = _fit(widths, columns, width)
    lines = []
    if head:
        lines.append(_line([Cell(title, "bold") for title in titles], columns, widths, paint))
    lines += [_line(row, columns, widths, paint) for row in cells]
    return lines


def _safe(cell: str | Cell) -> Cell:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    return Cell(printable(cell.text), cell.style)


def _fit(widths: list[int], columns: Sequence[Column], width: int) -> list[int]:
    fitted = list(widths)
    over = sum(fitted) + len(GAP) * (len(fitted) - 1) - width
    while over > 0:
        shrinkable = [i for i, column in enumerate(columns) if column.cut and fitted[i] > NARROWEST]
        if not shrinkable:
            break
        widest = max(shrinkable, key=lambda i: fitted[i])
        others = [fitted[i] for i in shrinkable if i != widest]
        step = min(over, fitted[widest] - max([NARROWEST, *others]) or 1)
        fitted[widest] -= step
        over -= step
    return fitted


def _line(row: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int], paint: Paint) -> str:
    parts = []
    for i, (cell, column) in enumerate(zip(row, columns, strict=True)):
        text = cut(cell.text, widths[i])
        space = " " * (widths[i] - text_width(text))
        shown = paint(text, cell.style)
        last = i == len(columns) - 1
        parts.append(space + shown if column.right else shown if last else shown + space)
    return GAP.join(parts).rstrip()


def text_width(text: str) -> int:
    """Terminal columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def cut(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits with an ellipsis."""
    if text_width(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def wrapped(text: str, width: int | None) -> list[str]:
    """The text, escaped, in lines of at most `width` terminal columns, broken between words; None breaks nothing."""
    safe = printable(text)
    if width is None or text_width(safe) <= width:
        return [safe]
    lines = [""]
    for word in safe.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        while text_width(word) > width:
            head = cut(word, width + 1)[:-1]
            lines[-1:] = [head, ""]
            word = word[len(head) :]
        lines[-1] = word
    return lines
