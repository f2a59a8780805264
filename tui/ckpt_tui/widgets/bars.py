"""The lines above and below the panes: where one is, what is wrong, which keys do something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from ckpt_tui.widgets.vtable import TONES, fitted

Piece = tuple[str, str]


class Bar(Widget):
    """One line of toned pieces, some at the left and some at the right; the right ones give way first."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"bar--text", *(f"bar--{tone}" for tone in TONES)}
    DEFAULT_CSS = """
    Bar {
        height: 1;
        & > .bar--text { color: $foreground; }
        & > .bar--good { color: $text-success; }
        & > .bar--warn { color: $text-warning; }
        & > .bar--bad { color: $text-error; }
        & > .bar--dim { color: $text-muted; }
        & > .bar--accent { color: $text-accent; text-style: bold; }
        & > .bar--strong { color: $foreground; text-style: bold; }
    }
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
        base = self.get_component_rich_style("bar--text")
        if y:
            return Strip.blank(self.size.width, base)
        left, right = self._strip(self._left, base), self._strip(self._right, base)
        space = self.size.width - left.cell_length - right.cell_length
        if space < 1:
            return left.crop_extend(0, self.size.width, base)
        return Strip.join([left, Strip([Segment(" " * space, base)]), right])

    def _strip(self, pieces: Sequence[Piece], base: Style) -> Strip:
        return Strip(
            [
                Segment(text, base + self.get_component_rich_style(f"bar--{tone}", partial=True) if tone else base)
                for text, tone in pieces
            ]
        )


def keys_line(pairs: Sequence[tuple[str, str]], width: int) -> list[Piece]:
    """Keys and what they do, as many as fit, each whole."""
    pieces: list[Piece] = [(" ", "")]
    used = 1
    for key, label in pairs:
        if used + len(key) + len(label) + 3 > width:
            break
        used += len(key) + len(label) + 3
        pieces += [(key, "accent"), (f" {fitted(label, len(label))}  ", "dim")]
    return pieces
