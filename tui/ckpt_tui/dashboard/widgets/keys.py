"""The keys that move through anything long, the same everywhere."""

from __future__ import annotations

from textual.binding import Binding


def moving_keys(line: str, edge: str, page: str, *, page_down: str = "pagedown") -> list[Binding]:
    """Bindings to a widget's actions: `line` takes a count of lines, `edge` -1 or 1, `page` a part of a page."""
    return [
        Binding("j,down", f"{line}(1)", "down", show=False),
        Binding("k,up", f"{line}(-1)", "up", show=False),
        Binding("g,home", f"{edge}(-1)", "first", show=False),
        Binding("G,end", f"{edge}(1)", "last", show=False),
        Binding("ctrl+d", f"{page}(0.5)", "half a page down", show=False),
        Binding("ctrl+u", f"{page}(-0.5)", "half a page up", show=False),
        Binding(page_down, f"{page}(1.0)", "a page down", show=False),
        Binding("pageup", f"{page}(-1.0)", "a page up", show=False),
    ]
