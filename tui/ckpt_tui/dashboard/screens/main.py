"""The main screen: runs, checkpoints of one run, its curve, and details of what is under the cursor."""

from __future__ import annotations

import time
from typing import Any, ClassVar, cast

from textual import on, work
from textual.binding import BindingType
from textual.content import Content
from textual.timer import Timer
from textual.worker import get_current_worker

from ckpt.encoding import printable
from ckpt.records import Checkpoint, Run
from ckpt_tui.dashboard import actions, columns, describing, messages
from ckpt_tui.dashboard.acts import checkpoint_name, command
from ckpt_tui.dashboard.board import Board, TableName, monitored
from ckpt_tui.dashboard.feed import Feed
from ckpt_tui.dashboard.reader import Reader
from ckpt_tui.dashboard.screens.pages import Page, help_page
from ckpt_tui.dashboard.screens.panes import Panes
from ckpt_tui.dashboard.widgets.chart import Mark, describe
from ckpt_tui.dashboard.widgets.filter_bar import FilterBar
from ckpt_tui.dashboard.widgets.vtable import VirtualTable
from ckpt_tui.wording import size_text

FOLLOW_S = 0.08  # that the cursor must rest before details and curve follow it
TICK_S = 1.0  # how often ages are drawn anew
YOUNG_S = 60.0  # below which an age changes every second


class MainScreen(Panes):
    """Draws the board. Reads come as messages from the reader's thread; only handlers here touch widgets."""

    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings()]

    def __init__(self, feed: Feed, *, readonly: str | None = None) -> None:
        super().__init__(feed, readonly=readonly)
        self.reader = Reader(feed, self.post_message)
        self.metric = "loss"
        self.log_y = False
        self._ticket = 0
        self._ticked_at = 0.0
        self._following: Timer | None = None
        self._shown_run: object = None
        self._marks: dict[str, list[Mark]] = {}
        self._resumes: dict[str, str] = {}

    def on_mount(self) -> None:
        """Paints first, then reads."""
        self.title_panes()
        self.show_header()
        self.checkpoints_table.set_empty("Its checkpoints appear here.")
        self.action_pane("runs")
        self.reader.start()
        self.reader.ask_runs()
        self.set_interval(TICK_S, self._tick)

    def on_unmount(self) -> None:
        """Ends the threads."""
        self.reader.stop()

    def _tick(self) -> None:
        """Ages move on; where nothing is young, minutes are enough."""
        now = time.time()
        young = any(now - run.updated_at < YOUNG_S for run in self.board.runs)
        if self.is_active and (young or now - self._ticked_at > YOUNG_S / 4):
            self._ticked_at = now
            self.runs_table.refresh()
            self.checkpoints_table.refresh()

    def action_back(self) -> None:
        """One step back: zoom, filter, pane, marks."""
        name = self.table_name()
        if self.has_class("-zoomed"):
            self.remove_class("-zoomed")
        elif self.board.views[name].query.text:
            self.board.set_query(name, "")
            self._refilter(name)
        elif self.pane != "runs":
            self.action_pane("runs" if self.pane == "checkpoints" else "checkpoints")
        elif self.board.marked:
            self.board.marked.clear()
            self._show_marks()

    def action_quit(self) -> None:
        """Leaves."""
        self.app.exit(0)

    def action_help(self) -> None:
        """Shows every key."""
        self.app.push_screen(help_page(self.why_not))

    # Reads arrive

    @on(messages.RunsRead)
    def _take_runs(self, message: messages.RunsRead) -> None:
        self.read_once = True
        self.board.take_runs(message.runs, message.words)
        stood, self.board.standing = self.board.standing, message.standing
        self._refilter("runs")
        self.show_header()
        if stood != message.standing:
            self.follow()

    @on(messages.RunRead)
    def _take_run(self, message: messages.RunRead) -> None:
        self.board.take_run(message.detail, message.words)
        self._marks[message.detail.run.id] = message.marks
        self.runs_table.refresh()
        if message.detail.run.id == self.board.selected:
            self._show_checkpoints()

    @on(messages.CurvesRead)
    def _take_curves(self, message: messages.CurvesRead) -> None:
        self.board.curves[message.run_id] = message.curves
        if message.run_id == self.board.selected:
            self._show_curve()

    @on(messages.ResumeRead)
    def _take_resume(self, message: messages.ResumeRead) -> None:
        self._resumes[message.checkpoint_id] = message.text
        checkpoint = self.current_checkpoint()
        if checkpoint is not None and checkpoint.id == message.checkpoint_id:
            self.follow()

    @on(messages.ReadFailed)
    def _read_failed(self, message: messages.ReadFailed) -> None:
        if message.run_id in ("", self.board.selected):
            self.checkpoints_table.set_empty(message.text)

    @on(messages.FeedLost)
    def _feed_lost(self, message: messages.FeedLost) -> None:
        self.lost = message.text
        if not self.read_once:
            self.runs_table.set_empty(message.text)
        self.show_header()

    @on(messages.FeedBack)
    def _feed_back(self) -> None:
        self.lost = None
        self.notify(f"{self.feed.title} answers again.", markup=False)
        self.show_header()

    # Showing

    def _show_checkpoints(self) -> None:
        detail = self.board.detail
        if detail is None:
            return
        table = self.checkpoints_table
        if self._shown_run is not detail:
            self._shown_run = detail
            table.set_columns(columns.checkpoint_columns(detail))
        table.set_empty(
            "No checkpoint yet.\nOne appears here as soon as it is written."
            if not detail.checkpoints
            else "Nothing fits the filter.\nesc takes it back."
        )
        self._refilter("checkpoints")
        self._show_marks()
        self._show_curve()

    def _show_curve(self) -> None:
        detail, curves = self.board.detail, self.board.curves.get(self.board.selected or "", {})
        if curves and self.metric not in curves:
            self.metric = monitored(detail.run) if detail and monitored(detail.run) in curves else sorted(curves)[0]
        points = curves.get(self.metric, [])
        empty = (
            "No value can be drawn on a log scale.\ny goes back."
            if points and self.log_y
            else "No curve yet.\nckpt.TrainingHook or run.emit(state) draws it."
            if detail is None or detail.run.own
            else "No curve.\nNo metrics are logged where they could be found."
        )
        self.chart.show(points, self._marks.get(self.board.selected or "", []), log=self.log_y, empty=empty)
        said = describe(points)
        scale = " · log" if self.log_y else ""
        self.chart.border_title = Content(f"3 {printable(self.metric)}{scale}" + (f" · {said}" if said else ""))
        self.title_panes()
        self.follow()

    def _show_marks(self) -> None:
        self.checkpoints_table.set_marks(self.board.marked)
        marked, detail = len(self.board.marked), self.board.detail
        shared = columns.shared_verdict(detail) if detail is not None else None
        said = f"{marked} marked · d compares" if marked else f"all: {shared}" if shared else ""
        self.checkpoints_table.border_subtitle = Content(said)

    def follow(self) -> None:
        """Details and guide follow once the cursor rests, so that a held key stays quick."""
        if self._following is not None:
            self._following.stop()
        self._following = self.set_timer(FOLLOW_S, self._follow_now)

    def _follow_now(self) -> None:
        detail, checkpoint = self.board.detail, self.current_checkpoint()
        self.chart.set_guide(checkpoint.step if checkpoint is not None else None)
        if detail is None:
            self.details.set_lines([[("Nothing is selected.", "dim")]])
        elif self.subject == "runs" or checkpoint is None:
            self.details.set_lines(describing.run_lines(detail, self.board.standing, self.board.name(detail.run)))
        else:
            verdict = detail.verdicts.get(checkpoint.id)
            resume = self._resumes.get(checkpoint.id)
            if resume is None and checkpoint.state == "complete":
                self.reader.ask_resume(checkpoint)
            self.details.set_lines(describing.checkpoint_lines(checkpoint, verdict, resume or ""))

    # Moving

    @on(VirtualTable.Moved)
    def _moved(self, event: VirtualTable.Moved) -> None:
        if type(event) is not VirtualTable.Moved:
            return
        if event.table.id == "runs":
            run = self.runs_table.current
            self._select(run)
        self.follow()

    def _select(self, run: Run | None) -> None:
        run_id = run.id if run is not None else None
        if run_id == self.board.selected:
            return
        self.board.selected = run_id
        self.reader.watch(run_id)
        self.checkpoints_table.set_rows([])
        if run_id in self.board.details:
            self._show_checkpoints()
        else:
            self.checkpoints_table.set_empty("reading …" if run_id else "")
            self.chart.show([], [], log=self.log_y, empty="reading …" if run_id else "")
            self.chart.border_title = Content("3 Curve")
            self._show_marks()
            self.title_panes()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        self.action_go_in()

    @on(VirtualTable.HeaderClicked)
    def _sort_by_header(self, event: VirtualTable.HeaderClicked) -> None:
        name: TableName = "runs" if event.table.id == "runs" else "checkpoints"
        if self.board.set_order(name, event.key):
            self._refilter(name)

    # Looking

    def action_sort(self) -> None:
        """Next order of the table."""
        name = self.table_name()
        order = self.board.cycle_order(name)
        self._refilter(name)
        self.notify(f"{name} by {order}", timeout=1.5, markup=False)

    def action_metric(self) -> None:
        """Next metric in the curve."""
        names = sorted(self.board.curves.get(self.board.selected or "", {}))
        if len(names) < 2:
            self.warn("There is no other metric in this run." if names else "This run has no curve yet.")
            return
        self.metric = names[(names.index(self.metric) + 1) % len(names)] if self.metric in names else names[0]
        self._show_curve()

    def action_log_scale(self) -> None:
        """Switches the curve's y axis."""
        self.log_y = not self.log_y
        self._show_curve()

    def action_filter(self) -> None:
        """Opens the filter bar for the table at hand."""
        if self.pane not in ("runs", "checkpoints"):
            self.action_pane("checkpoints")
        self.add_class("-filtering")
        self.filter_bar.open(self.board.views[self.table_name()].query.text)
        self._tell_filter()

    @on(FilterBar.Changed)
    def _filter_changed(self, event: FilterBar.Changed) -> None:
        name = self.table_name()
        if self.board.set_query(name, event.text):
            self._refilter(name)
        self._tell_filter()

    @on(FilterBar.Closed)
    def _filter_closed(self, event: FilterBar.Closed) -> None:
        name = self.table_name()
        self.remove_class("-filtering")
        self.board.set_query(name, event.text)
        self._refilter(name)
        self.action_pane(self.pane)

    def _tell_filter(self) -> None:
        name = self.table_name()
        view = self.board.views[name]
        if view.error:
            self.filter_bar.tell(view.error, wrong=True)
        else:
            self.filter_bar.tell(f"{len(self.table(name).rows):,} of {self.board.count(name):,} {name}")

    def _refilter(self, name: TableName) -> None:
        """Shows the rows of a table anew; where that takes long, in a thread."""
        self._ticket += 1
        if self.board.is_costly(name):
            self._filter_aside(name, self._ticket)
        else:
            rows = self.board.shown_runs() if name == "runs" else self.board.shown_checkpoints()
            self._show_rows(name, rows)

    @work(thread=True, exclusive=True, exit_on_error=False, group="filter")
    def _filter_aside(self, name: TableName, ticket: int) -> None:
        worker = get_current_worker()
        board: Board = self.board
        shown = board.shown_runs if name == "runs" else board.shown_checkpoints
        rows: list[Any] = shown(lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(messages.Filtered(name, ticket, rows))

    @on(messages.Filtered)
    def _filtered(self, message: messages.Filtered) -> None:
        if message.ticket == self._ticket:
            self._show_rows(cast(TableName, message.table), message.rows)
            self._tell_filter()

    def _show_rows(self, name: TableName, rows: list[Any]) -> None:
        table = self.table(name)
        table.set_sorted(self.board.views[name].order)
        if name == "runs":
            table.set_empty(self._empty_runs())
        # An untouched cursor stays on the newest; where keys go to it, it stays on its row.
        resting = name == "checkpoints" and table.cursor == 0 and not table.has_focus
        newest = resting and rows and self.board.views[name].order == "newest"
        table.set_rows(rows, follow=rows[0].id if newest else None)
        if name == "runs":
            self._select(self.runs_table.current)
            self.reader.ask_ahead(self.board.stale(self.runs_table.in_sight()))
        self.title_panes()

    def _empty_runs(self) -> str:
        if self.board.runs:
            return "Nothing fits the filter.\nesc takes it back."
        return f"No runs yet.\n{self.feed.advice}"

    # Other screens

    def action_mark(self) -> None:
        """Marks the checkpoint under the cursor, and goes on to the next."""
        detail, checkpoint = self.board.detail, self.current_checkpoint()
        if detail is None or checkpoint is None:
            self.warn("There is no checkpoint under the cursor.")
            return
        self.board.toggle_mark(detail.run, checkpoint)
        self._show_marks()
        self.checkpoints_table.action_move(1)

    def action_diff(self) -> None:
        """Compares two checkpoints."""
        detail = self.board.detail
        pair = self.board.pair(detail.run if detail else None, self.current_checkpoint())
        if len(pair) != 2:
            self.warn(f"Mark two checkpoints with space, then d; {len(pair) or 'none'} marked now.")
            return
        (run_a, a), (run_b, b) = pair
        names = [self._address(run_a, a), self._address(run_b, b)]
        titles = [checkpoint_name(run_a, a), checkpoint_name(run_b, b)]

        def load() -> list[describing.Line]:
            return describing.difference_lines(self.feed.diff(a, b), *titles)

        loading = f"comparing {size_text(a.bytes)} with {size_text(b.bytes)}, byte by byte …"
        title = f"Diff · {titles[0]} · {titles[1]}"
        self.app.push_screen(Page(title, command("diff", *names), load, loading=loading))

    def _address(self, run: Run, checkpoint: Checkpoint) -> str:
        detail = self.board.details.get(run.id)
        return self.feed.address(run, checkpoint, detail.checkpoints if detail else ())

    def action_plan(self) -> None:
        """Shows what the policy of the selected run does."""
        detail = self.board.detail
        if detail is None:
            self.warn("No run is selected.")
            return
        run, name = detail.run, self.board.name(detail.run)

        def load() -> list[describing.Line]:
            return describing.plan_lines(self.feed.plan(run.id), name)

        self.app.push_screen(Page(f"Plan · {printable(name)}", command("plan", name), load))
