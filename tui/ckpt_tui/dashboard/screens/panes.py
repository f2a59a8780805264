"""The frame of the main screen: header, four panes, filter bar, keys, and moving between them."""

from __future__ import annotations

from typing import Any, cast

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget

from ckpt.encoding import printable
from ckpt.records import Checkpoint, Run
from ckpt_tui.dashboard import actions, columns
from ckpt_tui.dashboard.board import TableName
from ckpt_tui.dashboard.feed import Feed
from ckpt_tui.dashboard.screens.acting import Acting
from ckpt_tui.dashboard.screens.styles import MAIN_CSS, layout_class
from ckpt_tui.dashboard.widgets.bars import Bar, Piece, keys_line
from ckpt_tui.dashboard.widgets.chart import Chart
from ckpt_tui.dashboard.widgets.filter_bar import FilterBar
from ckpt_tui.dashboard.widgets.pager import Pager
from ckpt_tui.dashboard.widgets.vtable import VirtualTable
from ckpt_tui.wording import plural, size_text

PANES = ("runs", "checkpoints", "curve", "details")


class Panes(Acting):
    """Lays the panes out for the size of the terminal and names them; what they show comes from the main screen."""

    DEFAULT_CSS = MAIN_CSS

    def __init__(self, feed: Feed, *, readonly: str | None) -> None:
        super().__init__(feed, readonly=readonly)
        self.pane = "runs"
        """The pane that has the focus."""
        self.subject: TableName = "runs"
        """The table whose row the details are about."""
        self.read_once = False
        """Whether the list of runs was read."""

    def compose(self) -> ComposeResult:
        """Header, banner, four panes, filter bar, keys."""
        # Classes are set while there is nothing yet that would have to be styled anew.
        self._choose_layout(self.app.size.width, self.app.size.height)
        self.add_class("-at-runs")
        yield Bar(id="header")
        yield Bar(id="banner")
        with Container(id="body"):
            yield VirtualTable(
                columns.run_columns(
                    self.board.best_value, self.board.name, lambda run: run.id in self.board.standing.asks
                ),
                lambda run: run.id,
                empty="reading …",
                id="runs",
            )
            yield VirtualTable[Checkpoint]([], lambda checkpoint: checkpoint.id, id="checkpoints")
            yield Pager(id="details")
            yield Chart(id="curve")
        yield FilterBar(id="filter")
        yield Bar(id="keys")

    @property
    def runs_table(self) -> VirtualTable[Run]:
        """The table of runs."""
        return cast(VirtualTable[Run], self.query_one("#runs"))

    @property
    def checkpoints_table(self) -> VirtualTable[Checkpoint]:
        """The table of the selected run's checkpoints."""
        return cast(VirtualTable[Checkpoint], self.query_one("#checkpoints"))

    @property
    def chart(self) -> Chart:
        """The curve."""
        return self.query_one("#curve", Chart)

    @property
    def details(self) -> Pager:
        """The details."""
        return self.query_one("#details", Pager)

    @property
    def filter_bar(self) -> FilterBar:
        """The line in which filters are typed."""
        return self.query_one("#filter", FilterBar)

    def current_checkpoint(self) -> Checkpoint | None:
        """The checkpoint under the cursor."""
        return self.checkpoints_table.current

    # Layout

    def on_resize(self) -> None:
        """Chooses the layout for the size."""
        self._choose_layout(self.size.width, self.size.height)
        self._show_keys()

    def _choose_layout(self, width: int, height: int) -> None:
        wanted = layout_class(width, height)
        if not self.has_class(wanted):
            self.remove_class("-narrow", "-medium", "-wide", "-huge")
            self.add_class(wanted)

    def action_pane(self, name: str) -> None:
        """Moves the focus to a pane, and shows it where there is room for one only."""
        if name != self.pane:
            self.remove_class(f"-at-{self.pane}")
            self.add_class(f"-at-{name}")
            self.pane = name
        if name in ("runs", "checkpoints"):
            self.subject = cast(TableName, name)
        # At once, not later: the next key may be waiting already.
        self.set_focus(self.query_one(f"#{name}"))
        self._show_keys()
        self.follow()

    def follow(self) -> None:
        """Details and guide are to follow the cursor."""

    def action_pane_next(self, by: int) -> None:
        """Moves on by panes, in their order."""
        self.action_pane(PANES[(PANES.index(self.pane) + by) % len(PANES)])

    def action_go_in(self) -> None:
        """From a run to its checkpoints, from a checkpoint to its details."""
        if self.pane in ("runs", "checkpoints") and self.table(self.table_name()).current is not None:
            self.action_pane("checkpoints" if self.pane == "runs" else "details")

    def action_zoom(self) -> None:
        """Gives the pane the whole screen, and back."""
        self.toggle_class("-zoomed")

    def on_descendant_focus(self, event: Any) -> None:
        """The mouse moves between panes too."""
        name = event.widget.id
        if name in PANES and name != self.pane:
            self.action_pane(name)

    def show_header(self) -> None:
        """Says what is there, what trains, and what is wrong."""
        runs = self.board.runs
        training = sum(run.status == "training" for run in runs)
        left: list[Piece] = [(" ckpt ", "accent"), (f" {printable(self.feed.title)}", "strong")]
        if self.read_once:
            checkpoints, size = sum(run.checkpoints for run in runs), sum(run.bytes for run in runs)
            left.append(
                (f"  {plural(len(runs), 'run')} · {plural(checkpoints, 'checkpoint')} · {size_text(size)}", "dim")
            )
        right: list[Piece] = [(f"● {training} training  ", "good")] if training else []
        asks = sum(run.id in self.board.standing.asks for run in runs)
        if asks:
            right.append((f"? {asks} asks  " if asks == 1 else f"? {asks} ask  ", "warn"))
        if self.readonly:
            right.append(("read-only  ", "warn"))
        right.append(("lost ", "bad") if self.lost else ("live ", "good") if self.read_once else ("… ", "dim"))
        self.query_one("#header", Bar).show(left, right)
        banner = self.lost or self.readonly or ""
        self.set_class(bool(banner), "-banner")
        first = banner.splitlines()[0] if banner else ""
        said = f" {first} · read-only, showing what was last known · trying again" if self.lost else f" {first}"
        self.query_one("#banner", Bar).show([(said, "warn")] if banner else [])

    def _show_keys(self) -> None:
        pairs = [(a.shown_keys, a.title.lower()) for a in actions.ACTIONS if a.hint]
        by_pane = {
            "runs": [("enter", "checkpoints"), ("P", "plan"), ("T", "trash")],
            "checkpoints": [],
            "curve": [("m", "metric"), ("y", "log scale")],
            "details": [("j k", "scroll")],
        }
        help_and_quit = [pair for pair in pairs if pair[0] in ("?", "q")]
        others = [pair for pair in pairs if pair not in help_and_quit]
        own = by_pane[self.pane]
        shown = own + others if self.pane == "checkpoints" else own + help_and_quit + others
        width = self.size.width
        pieces = keys_line(shown, width)
        self.query_one("#keys", Bar).show(pieces, [("? help ", "dim")] if self.pane == "checkpoints" else [])

    def title_panes(self) -> None:
        """Names the panes, with counts and filters."""
        board = self.board
        detail = board.detail
        run = f" · {printable(board.name(detail.run))}" if detail else ""
        titles = {
            "runs": f"1 Runs{self._count('runs')}",
            "checkpoints": f"2 Checkpoints{run}{self._count('checkpoints')}",
            "details": "4 Details",
        }
        for name, title in titles.items():
            self.query_one(f"#{name}").border_title = Content(title)

    def _count(self, table: TableName) -> str:
        view, total = self.board.views[table], self.board.count(table)
        if view.query.text:
            shown = len(self.table(table).rows)
            return f" · {shown:,} of {total:,} · /{printable(view.query.text)}"
        return f" · {total:,}" if total else ""

    def table_name(self) -> TableName:
        """The table that sorting and filtering mean."""
        return "runs" if self.pane == "runs" else "checkpoints"

    def table(self, name: TableName) -> VirtualTable[Any]:
        """A table by name."""
        return self.runs_table if name == "runs" else self.checkpoints_table

    def get_default_focus(self) -> Widget:
        """The runs."""
        return self.runs_table
