"""What a training has emitted so far, as columns, bounded: what goes into a checkpoint as its metrics' history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ckpt.state import TrainingState

ROWS = 1000
COLUMNS = 100
_OWN = ("global_step", "epoch", "loss", "learning_rate")


class MetricsHistory:
    """At most ROWS states over the whole training: when there are more, every second of the older ones goes.

    The newest is always there. Metrics beyond COLUMNS names are left out.
    """

    def __init__(self, saved: Any = None) -> None:
        self._rows: list[dict[str, Any]] = _rows_of(saved)
        self._names = dict.fromkeys(name for row in self._rows for name in row if name not in _OWN)
        self._numbers = list(range(len(self._rows)))
        """Which of the states each row was, counted from 0."""
        self._stride = 1
        """Rows whose number it divides stay; of the others there is the newest alone."""

    def add(self, state: TrainingState) -> None:
        """Takes one more state; the same step again replaces it."""
        row: dict[str, Any] = {name: getattr(state, name) for name in _OWN}
        for name, value in state.metrics.items():
            if name in self._names or len(self._names) < COLUMNS:
                self._names.setdefault(name)
                if name not in _OWN:
                    row[name] = value
        if self._rows and self._rows[-1]["global_step"] == row["global_step"]:
            self._rows[-1] = {**self._rows[-1], **row}
            return
        number = self._numbers[-1] + 1 if self._numbers else 0
        if self._numbers and self._numbers[-1] % self._stride:
            self._rows.pop()
            self._numbers.pop()
        if len(self._rows) >= ROWS:
            self._stride *= 2
            kept = [i for i, earlier in enumerate(self._numbers) if earlier % self._stride == 0]
            self._rows, self._numbers = [self._rows[i] for i in kept], [self._numbers[i] for i in kept]
        self._rows.append(row)
        self._numbers.append(number)

    def to_plain(self) -> dict[str, list[Any]] | None:
        """Columns of equal length by name, oldest first; None in a row that had no such metric, None for no rows."""
        if not self._rows:
            return None
        return {name: [row.get(name) for row in self._rows] for name in (*_OWN, *self._names)}


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
