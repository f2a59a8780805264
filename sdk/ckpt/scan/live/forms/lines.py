"""Files of which every line is a row: tables with a header, and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ckpt.encoding import metrics_from_disk, number_from_disk
from ckpt.scan.live.forms.form import READ_MAX, TAIL
from ckpt.scan.live.growing import Growing
from ckpt.scan.live.rows import AXES, EPOCH, MAX_METRICS, Row, is_metric, number, plain, row_of, whole


class Language(Protocol):
    """What the lines of one file mean; it may learn from them, as from a header."""

    def row(self, line: bytes) -> Row | None:
        """The row in a line without its end; None where it holds none."""


class Lines:
    """A file of lines in one language."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self.offset = 0

    def read(self, file: Growing, add: Callable[[Row], None]) -> None:
        if not self.offset:
            self._begin(file)
        self._go(file, READ_MAX, add)

    def last(self, file: Growing) -> list[Row]:
        rows: list[Row] = []
        self._begin(file)
        self._go(file, TAIL, rows.append)
        return rows

    def _begin(self, file: Growing) -> None:
        """The first line alone: it may be the header."""
        first = file.read(0, TAIL)
        end = first.find(b"\n")
        if end >= 0 and self._language.row(first[:end]) is None:
            self.offset = end + 1

    def _go(self, file: Growing, most: int, add: Callable[[Row], None]) -> None:
        """The lines from the position on, or those in the last bytes where too many lie between."""
        is_far = file.size - most > self.offset
        if is_far:
            self.offset = file.size - most
        for line, end in file.lines(self.offset, cut=is_far):
            row = self._language.row(line)
            self.offset = end
            if row is not None:
                add(row)


class Table:
    """Cells under a header. A line with more or fewer cells than its header names nothing, so it is left out.

    A header may come again, with other columns, as trainings write one whenever they start.
    """

    def __init__(self, *, name: str | None = None) -> None:
        self._name = name
        self._columns = 0
        self._axis = -1
        self._epoch = -1
        self._metrics: list[tuple[int, str]] = []
        self._delimiter = ","

    def row(self, line: bytes) -> Row | None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        cells = self._cells(text)
        step = whole(cells[self._axis]) if len(cells) == self._columns and self._axis >= 0 else None
        if step is None:
            self._take_header(line)
            return None
        values: dict[str, float] = {}
        # Python takes 1_0 for a number.
        to_number = number if "_" in text else float
        for index, name in self._metrics:
            cell = cells[index]
            if cell:
                try:
                    value = to_number(cell)
                except ValueError:
                    continue
                if value is not None:
                    values[name] = value
        epoch = number(cells[self._epoch]) if self._epoch >= 0 else None
        return Row(step, epoch, values, self._epoch == self._axis)

    def _cells(self, line: str) -> list[str]:
        if '"' not in line:
            return line.split(self._delimiter)
        try:
            return next(csv.reader([line], delimiter=self._delimiter), [])
        except csv.Error:
            return []

    def _take_header(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r")
        before = self._delimiter
        self._delimiter = max(",\t;", key=text.count)
        names = self._cells(text)
        known = [plain(name) for name in names]
        axis = next((known.index(axis) for axis in AXES if axis in known), None)
        if axis is None:
            self._delimiter = before
            return
        self._columns, self._axis = len(names), axis
        self._epoch = known.index(EPOCH) if EPOCH in known else -1
        shown = [(index, name.strip()) for index, name in enumerate(names) if is_metric(name.strip())][:MAX_METRICS]
        self._metrics = [(shown[0][0], self._name)] if self._name and shown else shown


class JsonRows:
    """A JSON object a line, its members numbers."""

    def row(self, line: bytes) -> Row | None:
        record = _object(line)
        return None if record is None else row_of(record)


class States:
    """The states that a run of the SDK emits: metrics in a mapping, loss and learning rate beside it."""

    def row(self, line: bytes) -> Row | None:
        record = _object(line)
        step = None if record is None else whole(record.get("global_step"))
        if record is None or step is None:
            return None
        values = metrics_from_disk(record.get("metrics"))
        for name in ("loss", "learning_rate"):
            try:
                values.setdefault(name, float(number_from_disk(record.get(name))))
            except ValueError:
                continue
        return Row(step, number(record.get("epoch")), values)


def _object(line: bytes) -> Mapping[str, Any] | None:
    # The parser of the standard library, because trainings write NaN and Infinity as bare words.
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
