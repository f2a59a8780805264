"""Questions over the dashboard: asking before an act, and forms for what an act needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

ResultT = TypeVar("ResultT")
Values = Mapping[str, str]


class Dialog(ModalScreen[ResultT]):
    """Base of all questions: closes itself only, never what happens to lie on top."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        background: $background 60%;
        & > Vertical {
            width: 76;
            max-width: 96%;
            height: auto;
            max-height: 96%;
            border: round $accent;
            border-title-color: $text-accent;
            border-title-style: bold;
            background: $surface;
            padding: 0 1;
        }
        & .dialog-text { height: auto; max-height: 8; }
        & .dialog-command { height: auto; color: $text-muted; margin-top: 1; }
        & .dialog-problem { height: auto; color: $text-error; }
        & Label { color: $text-muted; }
        & Input { background: $panel; }
        & Horizontal { height: 1; align-horizontal: right; margin-top: 1; }
        & Button { margin-left: 2; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel", show=False)]

    def answer(self, result: ResultT | None) -> None:
        """Closes with a result; does nothing when the dialog is not the screen in front."""
        if self.is_active:
            self.dismiss(result)

    def action_cancel(self) -> None:
        """Closes without a result."""
        self.answer(None)


class Confirm(Dialog[bool]):
    """Asks before an act. Cancel has the focus, and the key that confirms is not the one that asked."""

    def __init__(self, title: str, text: str, command: str, *, label: str, key: str = "y") -> None:
        super().__init__()
        self._title, self._text, self._command, self._label, self._key = title, text, command, label, key

    def compose(self) -> ComposeResult:
        """What will happen, the command, and two buttons."""
        with Vertical() as box:
            box.border_title = Text(self._title).plain.replace("[", "\\[")
            yield Static(Text(self._text), classes="dialog-text")
            yield Static(Text(f"$ {self._command}"), classes="dialog-command")
            with Horizontal():
                yield Button("Cancel  esc", id="cancel", compact=True)
                yield Button(f"{self._label}  {self._key}", id="confirm", variant="warning", compact=True)

    def on_mount(self) -> None:
        """Cancel is what Enter does."""
        self.query_one("#cancel", Button).focus()

    def on_key(self, event: object) -> None:
        """The confirming key."""
        if getattr(event, "key", None) == self._key:
            self.answer(True)

    @on(Button.Pressed, "#confirm")
    def _confirm(self) -> None:
        self.answer(True)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.answer(False)


@dataclass(frozen=True)
class Field:
    """One line of a form."""

    key: str
    label: str
    value: str = ""
    placeholder: str = ""


@dataclass(frozen=True)
class Preview:
    """What a form would do with the values that it holds now."""

    command: str
    problem: str = ""
    """Why it cannot be done with them; "" when it can."""
    text: str = ""


class Form(Dialog[dict[str, str]]):
    """Asks for text, and shows the command while it is typed; answers with the values by field."""

    def __init__(
        self, title: str, text: str, fields: Sequence[Field], preview: Callable[[Values], Preview], *, label: str
    ) -> None:
        super().__init__()
        self._title, self._text, self._fields, self._preview, self._label = title, text, fields, preview, label

    def compose(self) -> ComposeResult:
        """What it is about, the fields, the command, and two buttons."""
        with Vertical() as box:
            box.border_title = self._title.replace("[", "\\[")
            yield Static(Text(self._text), classes="dialog-text")
            for field in self._fields:
                yield Label(Text(field.label))
                yield Input(field.value, placeholder=field.placeholder, id=f"field-{field.key}", compact=True)
            yield Static(classes="dialog-command")
            yield Static(classes="dialog-problem")
            with Horizontal():
                yield Button("Cancel  esc", id="cancel", compact=True)
                yield Button(f"{self._label}  enter", id="confirm", variant="primary", compact=True)

    def on_mount(self) -> None:
        """The first field is typed into."""
        self.query_one(Input).focus()
        self._show()

    @property
    def values(self) -> dict[str, str]:
        """What stands in the fields."""
        return {f.key: self.query_one(f"#field-{f.key}", Input).value.strip() for f in self._fields}

    @on(Input.Changed)
    def _show(self) -> None:
        preview = self._preview(self.values)
        lines = f"{preview.text}\n$ {preview.command}" if preview.text else f"$ {preview.command}"
        self.query_one(".dialog-command", Static).update(Text(lines))
        self.query_one(".dialog-problem", Static).update(Text(preview.problem))
        self.query_one("#confirm", Button).disabled = bool(preview.problem)

    @on(Input.Submitted)
    @on(Button.Pressed, "#confirm")
    def _confirm(self) -> None:
        if not self._preview(self.values).problem:
            self.answer(self.values)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.answer(None)
