"""What the dashboard knows, and what of it is to be seen: order, filter, marks. No widgets, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ckpt import filters, refs
from ckpt.exceptions import UsageError
from ckpt.records import Checkpoint, Run
from ckpt_tui.dashboard import filtering
from ckpt_tui.dashboard.feed import Curves, RunDetail, Standing
from ckpt_tui.dashboard.filtering import Query

TableName = Literal["runs", "checkpoints"]
RUN_ORDERS = ("updated", "name", "best", "size", "checkpoints")
CHECKPOINT_ORDERS = ("newest", "best", "step", "size")
SMALL = 5000  # rows that a costly query may look at between two keys
Never = Callable[[], bool]


@dataclass
class View:
    """How one table is looked at."""

    order: str
    query: Query = field(default_factory=lambda: Query(""))
    error: str = ""
    """Why the text in the filter bar cannot be read; "" when it can."""


@dataclass
class Board:
    """Everything that was read, by run id, and how it is looked at."""

    runs: list[Run] = field(default_factory=list)
    details: dict[str, RunDetail] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    marked: dict[str, tuple[Run, Checkpoint]] = field(default_factory=dict)
    """Marked checkpoints by id, of any run, in the order of marking."""
    standing: Standing = field(default_factory=Standing)
    selected: str | None = None
    """Id of the run whose checkpoints are shown."""
    views: dict[TableName, View] = field(
        default_factory=lambda: {"runs": View(RUN_ORDERS[0]), "checkpoints": View(CHECKPOINT_ORDERS[0])}
    )
    _names: dict[str, str] = field(default_factory=dict)
    _run_words: dict[str, str] = field(default_factory=dict)
    _best_values: dict[str, float | None] = field(default_factory=dict)
    _words: dict[str, list[str]] = field(default_factory=dict)
    _ordered: tuple[object, str, list[Checkpoint], list[str]] | None = None

    @property
    def detail(self) -> RunDetail | None:
        """The selected run, as far as it was read."""
        return self.details.get(self.selected) if self.selected else None

    def take_runs(self, runs: list[Run], words: list[str]) -> None:
        """Takes a new list of runs; what belongs to runs that are gone is dropped."""
        self.runs = runs
        self._names = refs.short_names(runs)
        self._run_words = {run.id: text for run, text in zip(runs, words, strict=True)}
        for known in (self.details, self.curves, self._words):
            for run_id in [run_id for run_id in known if run_id not in self._run_words]:
                del known[run_id]

    def take_run(self, detail: RunDetail, words: list[str]) -> None:
        """Takes one run as it is now; marks on checkpoints that are gone are dropped."""
        run_id = detail.run.id
        self.details[run_id] = detail
        self._words[run_id] = words
        best = detail.find(detail.run.best)
        self._best_values[run_id] = None if best is None else best.value(monitored(detail.run))
        mine = [key for key, (run, _) in self.marked.items() if run.id == run_id]
        if mine:
            here = {c.id: c for c in detail.checkpoints}
            for key in mine:
                if key in here:
                    self.marked[key] = (detail.run, here[key])
                else:
                    del self.marked[key]

    def name(self, run: Run) -> str:
        """What a run is called: the shortest end of its path that names no other."""
        return self._names.get(run.id, run.name)

    def best_value(self, run: Run) -> float | None:
        """The monitored metric at a run's best checkpoint, as far as the run was read."""
        return self._best_values.get(run.id)

    def stale(self, runs: Sequence[Run]) -> list[str]:
        """Ids of those runs that changed since they were read, or never were."""
        return [
            run.id
            for run in runs
            if (known := self.details.get(run.id)) is None or known.run.updated_at < run.updated_at
        ]

    # What is to be seen

    def cycle_order(self, table: TableName) -> str:
        """Goes to the next order of a table, and names it."""
        orders = RUN_ORDERS if table == "runs" else CHECKPOINT_ORDERS
        view = self.views[table]
        view.order = orders[(orders.index(view.order) + 1) % len(orders)]
        return view.order

    def set_order(self, table: TableName, order: str) -> bool:
        """Takes an order by name; False when the table has no such order."""
        known = order in (RUN_ORDERS if table == "runs" else CHECKPOINT_ORDERS)
        if known:
            self.views[table].order = order
        return known

    def set_query(self, table: TableName, text: str) -> bool:
        """Takes a filter text; False, with `error` set and the filter as before, when it cannot be read."""
        view = self.views[table]
        try:
            view.query = filtering.read_query(text)
        except UsageError as error:
            view.error = error.message
            return False
        view.error = ""
        return True

    def count(self, table: TableName) -> int:
        """Rows that a table has without its filter."""
        if table == "runs":
            return len(self.runs)
        return len(self.detail.checkpoints) if self.detail else 0

    def is_costly(self, table: TableName) -> bool:
        """Whether filtering a table takes longer than a key may."""
        return self.views[table].query.costly and self.count(table) > SMALL

    def shown_runs(self, cancelled: Never = lambda: False) -> list[Run]:
        """Runs to be seen, in order."""
        view = self.views["runs"]
        runs = sorted(self.runs, key=self._run_key(view.order))
        texts = [self._run_words.get(run.id, "") for run in runs]
        return filtering.select(view.query, runs, texts, filters.run_fields, cancelled=cancelled)

    def _run_key(self, order: str) -> Callable[[Run], tuple[float | str, str]]:
        def key(run: Run) -> tuple[float | str, str]:
            match order:
                case "name":
                    return self.name(run), run.path
                case "size":
                    return -run.bytes, run.path
                case "checkpoints":
                    return -run.checkpoints, run.path
                case "best":
                    value = self.best_value(run)
                    if value is None or not math.isfinite(value):
                        return math.inf, run.path
                    return (value if run.mode == "min" else -value), run.path
                case _:
                    # Runs that train all change by the second: among them the order must not.
                    return (-math.inf if run.status == "training" else -run.updated_at), run.path

        return key

    def shown_checkpoints(self, cancelled: Never = lambda: False) -> list[Checkpoint]:
        """Checkpoints of the selected run to be seen, in order."""
        detail = self.detail
        if detail is None:
            return []
        view = self.views["checkpoints"]
        rows, words = self._in_order(detail, view.order)
        verdicts = detail.verdicts
        return filtering.select(
            view.query,
            rows,
            words,
            lambda c: filters.checkpoint_fields(c, verdicts.get(c.id)),
            cancelled=cancelled,
        )

    def _in_order(self, detail: RunDetail, order: str) -> tuple[Sequence[Checkpoint], list[str]]:
        words = self._words[detail.run.id]
        if order == "newest":
            return detail.checkpoints, words
        if self._ordered is not None and self._ordered[0] is detail and self._ordered[1] == order:
            return self._ordered[2], self._ordered[3]
        checkpoints = detail.checkpoints
        if order == "best":
            places = {
                c.id: i for i, c in enumerate(refs.best_first(checkpoints, monitored(detail.run), detail.run.mode))
            }
            keys: list[float] = [places.get(c.id, len(checkpoints)) for c in checkpoints]
        elif order == "step":
            keys = [math.inf if c.step is None else c.step for c in checkpoints]
        else:
            keys = [-c.bytes for c in checkpoints]
        ranks = sorted(range(len(checkpoints)), key=keys.__getitem__)
        rows = [checkpoints[i] for i in ranks]
        self._ordered = (detail, order, rows, [words[i] for i in ranks])
        return self._ordered[2], self._ordered[3]

    # Marks

    def toggle_mark(self, run: Run, checkpoint: Checkpoint) -> None:
        """Marks a checkpoint, or takes its mark away."""
        if self.marked.pop(checkpoint.id, None) is None:
            self.marked[checkpoint.id] = (run, checkpoint)

    def pair(self, run: Run | None, checkpoint: Checkpoint | None) -> list[tuple[Run, Checkpoint]]:
        """The two checkpoints that a comparison means: both marked ones, or the marked one and the one given.

        Fewer or more than two when it is not clear which.
        """
        chosen = list(self.marked.values())
        if len(chosen) == 1 and run is not None and checkpoint is not None and checkpoint.id not in self.marked:
            chosen.append((run, checkpoint))
        return chosen


def monitored(run: Run) -> str:
    """The metric that `best` follows in a run."""
    return run.monitor or "loss"
