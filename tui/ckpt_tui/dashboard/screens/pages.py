"""Screens of text over the whole terminal: help, a difference, a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from ckpt.exceptions import CkptError
from ckpt_tui.dashboard.actions import ACTIONS, GROUPS
from ckpt_tui.dashboard.describing import Line
from ckpt_tui.dashboard.widgets.bars import Bar, keys_line
from ckpt_tui.dashboard.widgets.pager import Pager
from ckpt_tui.dashboard.widgets.tones import TonedScreen

Load = Callable[[], Sequence[Line]]


class Page(TonedScreen[None]):
    """Lines under a title, with the command that prints the same; loaded in a thread when that takes time."""

    DEFAULT_CSS = """
    Page {
        & > Pager {
            border: round $accent;
            border-title-color: $text-accent;
            border-title-style: bold;
            border-subtitle-color: $text-muted;
            padding: 0 1;
            height: 1fr;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "back", show=False)]

    class Loaded(Message):
        """The lines are there."""

        def __init__(self, lines: Sequence[Line]) -> None:
            super().__init__()
            self.lines = lines

    def __init__(
        self,
        title: str,
        command: str,
        load: Load | None = None,
        lines: Sequence[Line] = (),
        *,
        loading: str = "reading …",
    ) -> None:
        super().__init__()
        self._title, self._command, self._load = title, command, load
        self._lines: Sequence[Line] = [[(loading, "dim")]] if load is not None else lines

    def compose(self) -> ComposeResult:
        """The text and the keys."""
        pager = Pager(self._lines, id="page")
        pager.border_title = Content(self._title)
        pager.border_subtitle = Content(f"$ {self._command}" if self._command else "")
        yield pager
        yield Bar(id="keys")

    def on_mount(self) -> None:
        """Shows what is there, and loads the rest."""
        self.query_one(Pager).focus()
        self._show_keys()
        if self._load is not None:
            self._load_lines(self._load)

    def on_resize(self) -> None:
        """As many keys as fit."""
        self._show_keys()

    def _show_keys(self) -> None:
        pairs = [("esc", "back"), ("j k", "scroll"), ("g G", "ends"), ("ctrl-d ctrl-u", "half pages")]
        self.query_one("#keys", Bar).show(keys_line(pairs, self.size.width))

    @work(thread=True, exclusive=True, exit_on_error=False, group="page")
    def _load_lines(self, load: Load) -> None:
        try:
            lines = load()
        except (CkptError, OSError) as error:
            lines = [[(line, "bad" if i == 0 else "dim")] for i, line in enumerate(str(error).splitlines())]
        self.post_message(self.Loaded(lines))

    def on_page_loaded(self, message: Loaded) -> None:
        """Shows what was loaded."""
        self.query_one(Pager).set_lines(message.lines, keep_place=False)

    def action_leave(self) -> None:
        """Goes back."""
        if self.is_active:
            self.dismiss()


def help_page(why_not: Callable[[str], str | None]) -> Page:
    """Every action with its keys and command; `why_not` says, by action id, why one is off now."""
    lines: list[Line] = []
    for group, title in GROUPS.items():
        lines.append([(title, "accent")])
        for action in (a for a in ACTIONS if a.group == group):
            reason = why_not(action.id)
            line: Line = [
                (f"  {action.shown_keys:>9} ", "dim" if reason else "strong"),
                (" ", ""),
                (f"{action.title:<14}", "dim" if reason else ""),
                (action.help, "dim"),
            ]
            if action.command:
                line.append((f"   $ {action.command}", "accent"))
            lines.append(line)
            if reason:
                lines.append([(f"{'':>13}off: {reason}", "warn")])
        lines.append([])
    moving = (("j k ↓ ↑", "down, up"), ("g G", "first, last"), ("ctrl-d ctrl-u", "half a page"))
    lines.append([("Inside a pane", "accent")])
    lines += [[(f"  {keys:>13}  ", "strong"), (text, "dim")] for keys, text in moving]
    lines += [[(f"  {'ctrl-p':>13}  ", "strong"), ("search all of these by name", "dim")], []]
    lines.append([("Signs", "accent")])
    signs = (
        ("● ◍ ○ ✓ ✗", "a run trains, is stalled, is idle, has finished, has failed"),
        ("★", "best"),
        ("⚲", "pinned"),
        ("◆", "marked"),
        ("⑂", "forked"),
        ("✗ remove", "its policy removes it next"),
        ("?", "the plan of a run waits for your word: `ckpt prune RUN`"),
    )
    lines += [[(f"  {sign:>13}  ", "strong"), (text, "dim")] for sign, text in signs]
    filters = (
        ("words", "rows that hold all of them"),
        ("val_loss<0.2 and step>1000", "numbers, with and, or, not, ( )"),
        ("size>1GB  age<2d", "sizes and ages with units"),
        ("tag=paper  state=corrupt  has:note", "text and presence"),
    )
    lines += [[], [("Filters", "accent")]]
    lines += [[(f"  {example:<36}", "strong"), (text, "dim")] for example, text in filters]
    return Page("Help", "ckpt --help", lines=lines)
