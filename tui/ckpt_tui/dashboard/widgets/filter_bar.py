"""The line in which a filter is typed: live while it is typed, taken back by Esc, kept by Enter."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from ckpt_tui.dashboard.widgets.bars import Bar


class FilterBar(Horizontal):
    """One input and what came of it; hidden until opened."""

    DEFAULT_CSS = """
    FilterBar {
        height: 1;
        display: none;
        background: $panel;
        &.-open { display: block; }
        & > #filter-sign { width: auto; color: $text-accent; padding: 0 1; }
        & > Input { width: 3fr; }
        & > Bar { width: 2fr; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "take_back", "take back", show=False)]

    class Changed(Message):
        """Another text is to be filtered by."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Closed(Message):
        """The bar is done; `text` is the filter that stays."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._before = ""

    def compose(self) -> ComposeResult:
        """Sign, input, result."""
        yield Static("/", id="filter-sign")
        yield Input(compact=True, placeholder="words, or val_loss<0.2 and step>1000", id="filter-input")
        yield Bar(id="filter-result")

    @property
    def input(self) -> Input:
        """The input itself."""
        return self.query_one("#filter-input", Input)

    @property
    def is_open(self) -> bool:
        """Whether it is being typed into."""
        return self.has_class("-open")

    def open(self, text: str) -> None:
        """Shows the bar with the filter that is in force."""
        self._before = text
        self.add_class("-open")
        with self.prevent(Input.Changed):
            self.input.value = text
        self.input.cursor_position = len(text)
        self.input.focus()

    def tell(self, text: str, *, wrong: bool = False) -> None:
        """Says what the filter gives, or why it cannot be read."""
        piece = (f"{text} ", "bad" if wrong else "dim")
        self.query_one("#filter-result", Bar).show([piece] if wrong else [], [] if wrong else [piece])

    def action_take_back(self) -> None:
        """Closes with the filter that was there before."""
        self._close(self._before)

    def _close(self, text: str) -> None:
        if self.is_open:
            self.remove_class("-open")
            self.post_message(self.Closed(text))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open:
            self.post_message(self.Changed(event.value))

    @on(Input.Submitted)
    def _kept(self, event: Input.Submitted) -> None:
        event.stop()
        self._close(event.value)
