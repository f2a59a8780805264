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
    """A column: its title ("" in a table without a head), side, and what may be done to it where room is short.

    It may be cut, down to `least` terminal columns, at its end or in its middle; and columns with a `rank` are left
    out, highest first, where cutting is not enough.
    """

    title: str = ""
    right: bool = False
    cut: bool = False
    least: int = NARROWEST
    middle: bool = False
    rank: int = 0


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

    `width` is the number of columns of the terminal; then columns are left out and cut with an ellipsis, widest first,
    as they allow. None cuts nothing. Every cell is escaped here.
    """
    cells = [[_safe(cell) for cell in row] for row in rows]
    widths = [
        max([text_width(column.title) if head else 0, *(text_width(row[i].text) for row in cells)])
        for i, column in enumerate(columns)
    ]
    if width is not None:
        kept = _kept(widths, columns, width)
        columns = [columns[i] for i in kept]
        cells = [[row[i] for i in kept] for row in cells]
        widths = _fit([widths[i] for i in kept], columns, width)
    lines = []
    if head:
        lines.append(_line([Cell(column.title, "bold") for column in columns], columns, widths, paint))
    lines += [_line(row, columns, widths, paint) for row in cells]
    return lines


def _kept(widths: Sequence[int], columns: Sequence[Column], width: int) -> list[int]:
    """The columns that are shown: all, or as many as fit when those that may be cut are cut to their least."""
    kept = list(range(len(columns)))
    leasts = [min(w, column.least) if column.cut else w for w, column in zip(widths, columns, strict=True)]
    while sum(leasts[i] for i in kept) + len(GAP) * (len(kept) - 1) > width:
        last = max(kept, key=lambda i: columns[i].rank)
        if not columns[last].rank:
            break
        kept.remove(last)
    return kept


def _safe(cell: str | Cell) -> Cell:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    return Cell(printable(cell.text), cell.style)


def _fit(widths: list[int], columns: Sequence[Column], width: int) -> list[int]:
    fitted = list(widths)
    over = sum(fitted) + len(GAP) * (len(fitted) - 1) - width
    while over > 0:
        shrinkable = [i for i, column in enumerate(columns) if column.cut and fitted[i] > column.least]
        if not shrinkable:
            break
        widest = max(shrinkable, key=lambda i: fitted[i])
        others = [fitted[i] for i in shrinkable if i != widest]
        step = min(over, fitted[widest] - max([columns[widest].least, *others]) or 1)
        fitted[widest] -= step
        over -= step
    return fitted


def _line(row: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int], paint: Paint) -> str:
    parts = []
    for i, (cell, column) in enumerate(zip(row, columns, strict=True)):
        text = (cut_middle if column.middle else cut)(cell.text, widths[i])
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


def cut_middle(text: str, width: int) -> str:
    """The text, or as much of its beginning and its end as fits around an ellipsis."""
    if text_width(text) <= width:
        return text
    head = cut(text, width // 2 + 1)[:-1]
    tail, used = "", text_width(head) + 1
    for char in reversed(text):
        used += _char_width(char)
        if used > width:
            break
        tail = char + tail
    return f"{head}…{tail}"


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
