"""What a training has emitted so far, as columns, bounded: what goes into a checkpoint as its metrics' history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.saving.envelope import Columns
from ckpt.state import TrainingState, real, whole

ROWS = 1000
COLUMNS = 100
_COUNTS = frozenset({"global_step", "epoch"})
_OWN = ("global_step", "epoch", "loss", "learning_rate")


class MetricsHistory:
    """At most ROWS states over the whole training: when there are more, every second of the older ones goes.

    The newest is always there. Metrics beyond COLUMNS names are left out.
    """

    def __init__(self, saved: Any = None) -> None:
        rows = _rows_of(saved)
        names = dict.fromkeys([*_OWN, *(name for row in rows for name in row)])
        self._columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
        self._numbers = list(range(len(rows)))
        """Which of the states each row was, counted from 0."""
        self._stride = 1
        """Rows whose number it divides stay; of the others there is the newest alone."""

    def add(self, state: TrainingState) -> None:
        """Takes one more state; the same step again replaces it. Raises StateError for a metric that is no number."""
        row: dict[str, Any] = {name: getattr(state, name) for name in _OWN}
        row.update((name, value) for name, value in state.metrics.items() if name not in _OWN)
        for name, value in row.items():
            if name in _COUNTS:
                row[name] = whole(value, name)
            elif type(value) is not float:
                row[name] = real(value, name)
        for name in row:
            if name not in self._columns and len(self._columns) < len(_OWN) + COLUMNS:
                self._columns[name] = [None] * len(self._numbers)
        if self._numbers and self._columns["global_step"][-1] == row["global_step"]:
            for name, column in self._columns.items():
                column[-1] = row.get(name, column[-1])
            return
        number = self._numbers[-1] + 1 if self._numbers else 0
        if self._numbers and self._numbers[-1] % self._stride:
            self._keep(range(len(self._numbers) - 1))
        if len(self._numbers) >= ROWS:
            self._stride *= 2
            self._keep([i for i, earlier in enumerate(self._numbers) if earlier % self._stride == 0])
        for name, column in self._columns.items():
            column.append(row.get(name))
        self._numbers.append(number)

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that any of its states had, besides the loss."""
        own = frozenset(_OWN)
        return tuple(n for n, column in self._columns.items() if n not in own and any(v is not None for v in column))

    def to_plain(self) -> Columns | None:
        """Columns of equal length by name, oldest first; None in a row that had no such metric, None for no rows."""
        if not self._numbers:
            return None
        return Columns({name: list(column) for name, column in self._columns.items()})

    def _keep(self, rows: Sequence[int]) -> None:
        for values in (self._numbers, *self._columns.values()):
            values[:] = [values[i] for i in rows]


def _rows_of(saved: Any) -> list[dict[str, Any]]:
    """The rows behind saved columns; [] for what is none."""
    if not isinstance(saved, Mapping) or not isinstance(saved.get("global_step"), list):
        return []
    columns = {str(n): c for n, c in saved.items() if isinstance(c, list) and len(c) == len(saved["global_step"])}
    rows: list[dict[str, Any]] = []
    for i, step in enumerate(columns["global_step"][-ROWS:], max(0, len(columns["global_step"]) - ROWS)):
        if type(step) is not int:
            return []
        rows.append({name: column[i] for name, column in columns.items() if _is_number(column[i])})
        rows[-1]["global_step"] = step
    for row in rows:
        for name in _OWN:
            row.setdefault(name, math.nan)
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
