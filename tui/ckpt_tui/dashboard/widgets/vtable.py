"""A table that draws only the rows in sight: its cost does not follow the number of its rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ckpt_tui.dashboard.widgets.keys import moving_keys
from ckpt_tui.dashboard.widgets.tones import tones_of

RowT = TypeVar("RowT")

Cell = tuple[str, str]
"""Text, safe to show, and its tone: "" or one of TONES."""

GUTTER = 2  # characters before the first column: cursor and mark


@dataclass(frozen=True)
class Column(Generic[RowT]):
    """One column: how wide, how aligned, how soon it gives way, and what it shows of a row."""

    key: str
    title: str
    width: int
    cell: Callable[[RowT], Cell]
    right: bool = False
    grow: bool = False
    """Takes the space that is left; `width` is then its least."""
    rank: int = 0
    """When the table is too narrow, columns of the highest rank go first; rank 0 stays."""


def fit(columns: Sequence[Column[RowT]], width: int) -> list[tuple[Column[RowT], int]]:
    """The columns that fit into `width` characters, with their widths; one character between two."""
    kept = list(columns)
    while len(kept) > 1 and sum(c.width + 1 for c in kept) - 1 > width:
        worst = max(kept, key=lambda c: (c.rank, kept.index(c)))
        if worst.rank == 0:
            break
        kept.remove(worst)
    spare = max(0, width - (sum(c.width + 1 for c in kept) - 1))
    growing = [c for c in kept if c.grow]
    extra = {c.key: spare // len(growing) for c in growing}
    if growing:
        extra[growing[0].key] += spare % len(growing)
    return [(c, c.width + extra.get(c.key, 0)) for c in kept]


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """Text in exactly `width` cells of the terminal, cut with an ellipsis or padded."""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else "…"[:width]
    padding = " " * (width - length)
    return padding + text if right else text + padding


class VirtualTable(ScrollView, Generic[RowT], can_focus=True):
    """Rows of any number, a cursor that stays on its row when rows change, and marks.

    The order of rows is the caller's; filtering and sorting mean giving other rows.
    """

    DEFAULT_CSS = """
    VirtualTable {
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*moving_keys("move", "edge", "page")]

    class Moved(Message):
        """The cursor is on another row, or its row changed."""

        def __init__(self, table: VirtualTable[Any]) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> VirtualTable[Any]:
            """The table, for selectors."""
            return self.table

    class Opened(Moved):
        """A second click on the row under the cursor."""

    class HeaderClicked(Moved):
        """A click on a column's title."""

        def __init__(self, table: VirtualTable[Any], key: str) -> None:
            super().__init__(table)
            self.key = key

    def __init__(
        self,
        columns: Sequence[Column[RowT]],
        key: Callable[[RowT], Hashable],
        *,
        empty: str = "",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._columns = list(columns)
        self._key = key
        self._rows: Sequence[RowT] = ()
        self._cursor = 0
        self._marks: frozenset[Hashable] = frozenset()
        self._empty = empty
        self._sorted_by = ""
        self._styles: dict[tuple[str, bool], Style] = {}
        self._fit: tuple[int, list[tuple[Column[RowT], int]]] = (-1, [])

    # What it shows

    @property
    def rows(self) -> Sequence[RowT]:
        """The rows, in their order."""
        return self._rows

    @property
    def cursor(self) -> int:
        """Index of the row under the cursor; 0 when there is none."""
        return self._cursor

    @property
    def current(self) -> RowT | None:
        """The row under the cursor; None when there are no rows."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    def set_rows(self, rows: Sequence[RowT], *, follow: Hashable | None = None) -> None:
        """Shows other rows. The cursor goes to the row of the key `follow`, else stays on its row, else in its place.

        Finding the row is a walk over all keys, done only when the row is no longer where it was.
        """
        current = self.current
        wanted = follow if follow is not None else None if current is None else self._key(current)
        self._rows = rows
        index = min(self._cursor, max(0, len(rows) - 1))
        if wanted is not None and rows and self._key(rows[index]) != wanted:
            key = self._key
            index = next((i for i, row in enumerate(rows) if key(row) == wanted), index)
        self._cursor = index
        self._resize()
        self._keep_in_sight()
        self.refresh()
        now = self.current
        if now is not current:
            self.post_message(self.Moved(self))

    def set_columns(self, columns: Sequence[Column[RowT]]) -> None:
        """Shows other columns."""
        self._columns = list(columns)
        self._fit = (-1, [])
        self.refresh()

    def set_marks(self, marks: Iterable[Hashable]) -> None:
        """Shows a mark before the rows of these keys."""
        self._marks = frozenset(marks)
        self.refresh()

    def set_empty(self, text: str) -> None:
        """What is shown when there are no rows; may have several lines."""
        if text != self._empty:
            self._empty = text
            self.refresh()

    def set_sorted(self, key: str) -> None:
        """Points out the column that the rows are sorted by."""
        self._sorted_by = key
        self.refresh()

    def in_sight(self) -> Sequence[RowT]:
        """The rows in sight."""
        top = self.scroll_offset.y
        return self._rows[top : top + max(1, self.size.height - 1)]

    # Moving

    def move_to(self, index: int) -> None:
        """Puts the cursor on a row; beyond the ends it stays at them."""
        index = max(0, min(index, len(self._rows) - 1))
        if index == self._cursor or not self._rows:
            return
        before, self._cursor = self._cursor, index
        self._keep_in_sight()
        self.refresh_lines(before + 1)
        self.refresh_lines(index + 1)
        self.post_message(self.Moved(self))

    def action_move(self, rows: int) -> None:
        """Moves the cursor down by `rows`."""
        self.move_to(self._cursor + rows)

    def action_page(self, pages: float) -> None:
        """Moves the cursor down by pages."""
        self.move_to(self._cursor + int(pages * max(1, self.size.height - 1)))

    def action_edge(self, side: int) -> None:
        """Moves the cursor to the first (-1) or the last (1) row."""
        self.move_to(0 if side < 0 else len(self._rows) - 1)

    def _keep_in_sight(self) -> None:
        height = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + height:
            self.scroll_to(y=self._cursor - height + 1, animate=False)

    def _resize(self) -> None:
        height = len(self._rows) + 1
        if self.virtual_size.height != height or self.virtual_size.width != self.size.width:
            self.virtual_size = Size(self.size.width, height)

    def on_resize(self) -> None:
        """Keeps the cursor in sight."""
        self._resize()
        self._keep_in_sight()

    def on_click(self, event: events.Click) -> None:
        """Puts the cursor under the mouse; on it already, opens the row."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            at = GUTTER
            for column, width in self._layout():
                if at <= offset.x <= at + width:
                    self.post_message(self.HeaderClicked(self, column.key))
                at += width + 1
            return
        index = self.scroll_offset.y + offset.y - 1
        if index < len(self._rows):
            if event.chain > 1 and index == self._cursor:
                self.post_message(self.Opened(self))
            self.move_to(index)

    # Drawing

    def notify_style_update(self) -> None:
        """Forgets styles of the theme before."""
        super().notify_style_update()
        self._styles.clear()

    def watch_has_focus(self, value: bool) -> None:
        """The cursor looks different with the focus."""
        super().watch_has_focus(value)
        self._styles.clear()
        self.refresh()

    def _tone(self, tone: str, cursor: bool) -> Style:
        if not self._styles:
            tones = tones_of(self)
            over = tones["focused" if self.has_focus else "cursor"]
            below = Style(bgcolor=over.bgcolor, bold=over.bold)
            self._styles = {(name, False): style for name, style in tones.items()}
            self._styles |= {(name, True): style + below for name, style in tones.items()}
        return self._styles[tone, cursor]

    def _layout(self) -> list[tuple[Column[RowT], int]]:
        width = self.scrollable_content_region.width - GUTTER
        if self._fit[0] != width:
            self._fit = (width, fit(self._columns, width))
        return self._fit[1]

    def render_line(self, y: int) -> Strip:
        """Line `y` of what is in sight: the header, then rows."""
        width = self.size.width
        if y == 0:
            return self._header().crop_extend(0, width, self._tone("", False))
        index = self.scroll_offset.y + y - 1
        if not self._rows:
            return self._empty_line(y, width)
        if index >= len(self._rows):
            return Strip.blank(width, self._tone("", False))
        row = self._rows[index]
        cursor = index == self._cursor
        marked = bool(self._marks) and self._key(row) in self._marks
        segments = [
            Segment("▸" if cursor else " ", self._tone("accent", cursor)),
            Segment("◆" if marked else " ", self._tone("accent", cursor)),
        ]
        gap = Segment(" ", self._tone("", cursor))
        for column, space in self._layout():
            text, tone = column.cell(row)
            segments.append(Segment(fitted(text, space, right=column.right), self._tone(tone, cursor)))
            segments.append(gap)
        return Strip(segments).crop_extend(0, width, self._tone("", cursor))

    def _header(self) -> Strip:
        plain, lit = self._tone("dim", False), self._tone("accent", False)
        segments = [Segment(" " * GUTTER, plain)]
        for column, space in self._layout():
            chosen = column.key == self._sorted_by
            title = fitted(column.title, space, right=column.right)
            segments.append(Segment(title, lit if chosen else plain))
            segments.append(Segment(" ", plain))
        return Strip(segments)

    def _empty_line(self, y: int, width: int) -> Strip:
        lines = self._empty.splitlines()
        top = max(1, (self.size.height - len(lines)) // 3)
        text = lines[y - top] if 0 <= y - top < len(lines) else ""
        padding = max(0, (width - cell_len(text)) // 2)
        style = self._tone("dim" if y > top else "", False)
        return Strip([Segment(fitted(" " * padding + text, width), style)])
