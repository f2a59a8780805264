"""Text of any length, wrapped to the width and scrolled; drawn line by line, so new text costs no layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ckpt_tui.dashboard.widgets.keys import moving_keys
from ckpt_tui.dashboard.widgets.tones import tones_of

Piece = tuple[str, str]
"""Text, safe to show, and its tone: "" or one of TONES."""
Line = Sequence[Piece]


class Pager(ScrollView, can_focus=True):
    """Lines of toned pieces; long ones wrap under their own indentation."""

    DEFAULT_CSS = """
    Pager {
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *moving_keys("scroll_lines", "scroll_edge", "scroll_pages", page_down="pagedown,space")
    ]

    def __init__(self, lines: Sequence[Line] = (), *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Line] = lines
        self._wrapped: list[Strip] = []
        self._blank = Style()
        self._wrapped_for = -1

    def set_lines(self, lines: Sequence[Line], *, keep_place: bool = True) -> None:
        """Shows other text; from its top unless `keep_place`."""
        self._lines = lines
        self._wrapped_for = -1
        self._wrap()
        if not keep_place:
            self.scroll_to(y=0, animate=False)
        self.refresh()

    @property
    def text(self) -> str:
        """All of it as plain text."""
        return "\n".join("".join(piece for piece, _ in line) for line in self._lines)

    def action_scroll_lines(self, lines: int) -> None:
        """Scrolls down by lines."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def action_scroll_pages(self, pages: float) -> None:
        """Scrolls down by pages."""
        self.scroll_to(y=self.scroll_offset.y + int(pages * self.size.height), animate=False)

    def action_scroll_edge(self, side: int) -> None:
        """Scrolls to the first (-1) or last (1) line."""
        self.scroll_to(y=0 if side < 0 else self.virtual_size.height, animate=False)

    def on_resize(self) -> None:
        """Wraps anew for another width."""
        self._wrap()

    def notify_style_update(self) -> None:
        """Draws anew in the colours of another theme."""
        super().notify_style_update()
        self._wrapped_for = -1

    def _wrap(self) -> None:
        width = self.scrollable_content_region.width
        if width <= 0 or width == self._wrapped_for:
            return
        tones = tones_of(self)
        base = tones[""]
        out: list[Text] = []
        for line in self._lines:
            text = Text.assemble(*((piece, tones.get(tone, base)) for piece, tone in line), style=base)
            if text.cell_len <= width:
                out.append(text)
                continue
            plain = text.plain
            indent = min(len(plain) - len(plain.lstrip(" ")), width // 2)
            if len(line) > 2 and line[1][0] == " ":
                # A name, a space, a value: what wraps of the value stays under it.
                indent = min(len(line[0][0]) + 1, width // 2)
            head, tail = text[:indent], text[indent:]
            for part in tail.wrap(self.app.console, width - indent):
                out.append(Text.assemble(head, part, style=base))
                head = Text(" " * indent, style=base)
        console = self.app.console
        self._wrapped = [Strip([s for s in text.render(console) if s.text]).crop_extend(0, width, base) for text in out]
        self._blank = base
        self._wrapped_for = width
        size = Size(width, len(out))
        if size != self.virtual_size:
            self.virtual_size = size

    def render_line(self, y: int) -> Strip:
        """Line `y` of what is in sight."""
        self._wrap()
        index = self.scroll_offset.y + y
        return self._wrapped[index] if index < len(self._wrapped) else Strip.blank(self.size.width, self._blank)
