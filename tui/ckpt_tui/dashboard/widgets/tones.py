"""The colours that widgets draw in, by meaning.

Defined once a screen: a widget that defines its own pays for each of them at start-up and at every change of a class.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from rich.style import Style
from textual.screen import Screen
from textual.widget import Widget

ResultT = TypeVar("ResultT")

TONES = ("", "good", "warn", "bad", "dim", "accent", "strong", "line", "faint", "cursor", "focused")
"""Names that a piece of text may have; "" is plain, `cursor` and `focused` lie under the row of a cursor."""


class TonedScreen(Screen[ResultT]):
    """A screen whose widgets draw in tones."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{tone or 'plain'}" for tone in TONES}
    DEFAULT_CSS = """
    TonedScreen {
        & > .tone--plain { color: $foreground; }
        & > .tone--good { color: $text-success; }
        & > .tone--warn { color: $text-warning; }
        & > .tone--bad { color: $text-error; }
        & > .tone--dim { color: $foreground 60%; }
        & > .tone--accent { color: $text-accent; }
        & > .tone--strong { color: $foreground; text-style: bold; }
        & > .tone--line { color: $primary-lighten-2; }
        & > .tone--faint { color: $foreground 30%; }
        & > .tone--cursor { background: $surface-lighten-2; }
        & > .tone--focused { background: $block-cursor-background 45%; text-style: bold; }
        &:light > .tone--line { color: $primary; }
    }
    """


def tones_of(widget: Widget) -> dict[str, Style]:
    """The styles of all tones on the screen of a widget, which must be a TonedScreen; changes with the theme."""
    screen = widget.screen
    return {tone: screen.get_component_rich_style(f"tone--{tone or 'plain'}") for tone in TONES}
