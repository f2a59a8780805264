"""The trash: what was removed, why, until when it can be brought back, and bringing it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt_tui.dashboard.acts import Act, command, command_line
from ckpt_tui.dashboard.feed import Feed
from ckpt_tui.dashboard.screens.dialogs import Confirm
from ckpt_tui.dashboard.widgets.bars import Bar, keys_line
from ckpt_tui.dashboard.widgets.tones import TonedScreen
from ckpt_tui.dashboard.widgets.vtable import Column, VirtualTable
from ckpt_tui.wording import age_text, file_name, plural, size_text

Entry = dict[str, Any]


def _why(entry: Entry) -> str:
    reasons = entry.get("reasons") or entry.get("near_misses") or ()
    return "; ".join(printable(str(r.get("text", r) if isinstance(r, dict) else r)) for r in reasons)


def _left(entry: Entry) -> str:
    """Time until it is purged, counted as ages are."""
    purge_at, trashed_at = entry.get("purge_at") or 0, entry.get("trashed_at") or 0
    if not purge_at:
        return "–"
    return age_text(trashed_at, purge_at) if purge_at > trashed_at else "now"


def columns(run_names: Callable[[str], str]) -> list[Column[Entry]]:
    """Columns of the trash; `run_names` gives the name of a run's id."""
    return [
        Column("run", "run", 18, lambda e: (printable(run_names(str(e.get("run", "")))), "strong"), rank=2),
        Column("file", "checkpoint", 16, lambda e: (file_name(str(e.get("path", ""))), "")),
        Column("size", "size", 7, lambda e: (size_text(int(e.get("bytes") or 0)), "dim"), right=True, rank=3),
        Column("trashed", "removed", 7, lambda e: (age_text(e.get("trashed_at") or 0), ""), right=True, rank=1),
        Column("kept", "kept for", 8, lambda e: (_left(e), "warn"), right=True, rank=4),
        Column("why", "why", 12, lambda e: (_why(e), "dim"), grow=True, rank=5),
    ]


class TrashScreen(TonedScreen[Act | None]):
    """Lists the trash; answers with the restore that was confirmed."""

    DEFAULT_CSS = """
    TrashScreen > VirtualTable {
        border: round $accent;
        border-title-color: $text-accent;
        border-title-style: bold;
        border-subtitle-color: $text-muted;
        height: 1fr;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "back", show=False),
        Binding("r,enter", "restore", "restore", show=False),
        Binding("a", "switch", "this run, all runs", show=False),
    ]

    class Loaded(Message):
        """The trash was read."""

        def __init__(self, run: str | None, entries: list[Entry], problem: str) -> None:
            super().__init__()
            self.run, self.entries, self.problem = run, entries, problem

    def __init__(self, feed: Feed, run_names: Callable[[str], str], why_not: str | None, run: str | None) -> None:
        """`run` is the id of the run whose trash is shown first; None for that of all."""
        super().__init__()
        self._feed, self._run_names, self._why_not = feed, run_names, why_not
        self._run = self._shown_run = run

    def compose(self) -> ComposeResult:
        """The table and the keys."""
        table: VirtualTable[Entry] = VirtualTable(
            columns(self._run_names), lambda e: str(e.get("id")), empty="reading …", id="trash"
        )
        yield table
        yield Bar(id="keys")

    @property
    def table(self) -> VirtualTable[Entry]:
        """The table."""
        return self.query_one("#trash", VirtualTable)

    def on_mount(self) -> None:
        """Reads the trash of the run."""
        self.table.focus()
        self._read()

    def action_switch(self) -> None:
        """From the trash of the run to that of all, and back."""
        self._shown_run = self._run if self._shown_run is None else None
        self._read()

    def _read(self) -> None:
        """Names what is shown, and reads it."""
        self.table.border_title = Content(self._title)
        name = [] if self._shown_run is None else [self._run_names(self._shown_run)]
        self.table.border_subtitle = Content(f"$ {command('trash', 'ls', *name)}")
        other = "this run" if self._shown_run is None else "all runs"
        keys = [("r", "restore"), *([("a", other)] if self._run is not None else []), ("esc", "back")]
        self.query_one("#keys", Bar).show(keys_line(keys, self.size.width))
        self._load(self._shown_run)

    @property
    def _title(self) -> str:
        of = "all runs" if self._shown_run is None else printable(self._run_names(self._shown_run))
        return f"Trash · {of}"

    @work(thread=True, exclusive=True, exit_on_error=False, group="trash")
    def _load(self, run: str | None) -> None:
        try:
            entries, problem = self._feed.trash(run), ""
        except (CkptError, OSError) as error:
            entries, problem = [], str(error)
        self.post_message(self.Loaded(run, entries, problem))

    @on(Loaded)
    def _show(self, message: Loaded) -> None:
        if message.run != self._shown_run:
            return
        self.table.set_empty(
            message.problem
            or "The trash is empty.\nWhat a policy removes waits here until it is purged; P shows what goes next."
        )
        self.table.set_rows(message.entries)
        total = sum(int(e.get("bytes") or 0) for e in message.entries)
        self.table.border_title = Content(
            f"{self._title} · {plural(len(message.entries), 'checkpoint')} · {size_text(total)}"
        )

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        self.action_restore()

    def action_restore(self) -> None:
        """Asks, then answers with the restore."""
        entry = self.table.current
        if entry is None:
            self.notify("There is nothing to restore.", markup=False)
            return
        if self._why_not:
            self.notify(self._why_not, severity="warning", markup=False)
            return
        act = Act(kind="trash restore", entries=(str(entry["id"]),))
        name = file_name(str(entry.get("path", "")))
        path = printable(str(entry.get("path", "")))
        text = f"{name} goes back to where it was, and is pinned so that the next pass leaves it.\n{path}"

        def answered(yes: bool | None) -> None:
            if yes and self.is_active:
                self.dismiss(act)

        self.app.push_screen(Confirm("Restore from the trash", text, command_line(act), label="Restore"), answered)

    def action_leave(self) -> None:
        """Goes back."""
        if self.is_active:
            self.dismiss(None)
