"""The lines above and below the panes: where one is, what is wrong, which keys do something."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from ckpt_tui.dashboard.widgets.tones import tones_of

Piece = tuple[str, str]


class Bar(Widget):
    """One line of toned pieces, some at the left and some at the right; the right ones give way first."""

    DEFAULT_CSS = """
    Bar { height: 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._left: Sequence[Piece] = ()
        self._right: Sequence[Piece] = ()

    def show(self, left: Sequence[Piece], right: Sequence[Piece] = ()) -> None:
        """Shows other pieces."""
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.refresh()

    @property
    def text(self) -> str:
        """What it says."""
        return "".join(piece for piece, _ in (*self._left, *self._right))

    def render_line(self, y: int) -> Strip:
        """The line."""
        base, width = self.rich_style, self.size.width
        if y:
            return Strip.blank(width, base)
        tones = tones_of(self)
        left, right = (
            Strip(
                [Segment(text, base + Style(color=tones[tone].color, bold=tones[tone].bold)) for text, tone in pieces]
            )
            for pieces in (self._left, self._right)
        )
        space = width - left.cell_length - right.cell_length
        if space < 1:
            return left.crop_extend(0, width, base)
        return Strip.join([left, Strip([Segment(" " * space, base)]), right])


def keys_line(pairs: Sequence[tuple[str, str]], width: int) -> list[Piece]:
    """Keys and what they do, as many as fit, each whole."""
    pieces: list[Piece] = [(" ", "")]
    used = 1
    for key, label in pairs:
        if used + len(key) + len(label) + 3 > width:
            break
        used += len(key) + len(label) + 3
        pieces += [(key, "accent"), (f" {label}  ", "dim")]
    return pieces
