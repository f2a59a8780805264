"""metrics.csv: the emitted states for spreadsheets, readable by column name.

A view of states.jsonl, written late and in blocks. A metric that appears later adds a column, and the file is made
anew, so every line has as many fields as the header. Numbers that are not finite are `nan`, `inf` and `-inf`.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ckpt import files
from ckpt.encoding import metrics_from_disk, number_from_disk, printable

BASE = ("at", "attempt", "epoch", "global_step", "learning_rate", "loss")
FLUSH_ROWS = 1024
FLUSH_S = 5.0
_TAIL = 1 << 16  # bytes at the end of a file in which its last line is looked for


class MetricsFile:
    """The metrics of one run as CSV; rows wait in memory until `flush`.

    What a crash loses of them is in states.jsonl, and the next attempt writes it.
    """

    def __init__(self, path: Path, states: Path) -> None:
        self._path = path
        self._states = states
        self._columns: dict[str, None] = {}
        self._rows: list[dict[str, Any]] = []
        self._flushed_at = 0.0
        self._lock = threading.RLock()
        self._flushing = False
        self._begun = False

    def add(self, row: dict[str, Any]) -> None:
        """Takes one line of states.jsonl; writes when enough have gathered. Raises OSError."""
        self._rows.append(row)
        if len(self._rows) >= FLUSH_ROWS or row["at"] - self._flushed_at > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Brings the file up to date. Raises OSError; the rows then wait for the next time."""
        with self._lock:
            if self._flushing:
                return  # a signal handler in the midst of it; the rows wait
            self._flushing = True
            try:
                self._flush()
            finally:
                self._flushing = False

    def _flush(self) -> None:
        rows = self._rows[:]
        if not rows and (self._begun or not self._states.exists()):
            return
        if rows:
            self._flushed_at = rows[-1]["at"]
        known = len(self._columns)
        self._learn(rows)
        if not self._begun and self._up_to_date():
            self._begun = True
        elif not self._begun or len(self._columns) > known:
            self._rewrite()
            self._begun = True
        else:
            with open(self._path, "a", encoding="utf-8", newline="") as stream:
                self._write(stream, rows)
        del self._rows[: len(rows)]

    def _up_to_date(self) -> bool:
        """Whether the file of an earlier attempt already ends with the last state; then its columns are taken over."""
        header, last = _ends(self._path)
        state = _last_line(self._states)
        if header is None or last is None or state is None or tuple(header[: len(BASE)]) != BASE:
            return False
        columns = dict.fromkeys(header[len(BASE) :])
        if last[:1] != [_cell(state.get("at"))] or len(last) != len(header) or not set(self._columns) <= set(columns):
            return False
        self._columns = columns
        return True

    def _rewrite(self) -> None:
        for _ in self._pass():
            pass

        def write(stream: IO[bytes]) -> None:
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
            csv.writer(text, lineterminator="\n").writerow([*BASE, *self._columns])
            self._write(text, self._pass())
            text.flush()
            text.detach()

        files.atomic_write(self._path, write)

    def _pass(self) -> Iterator[dict[str, Any]]:
        for line in files.read_json_lines(self._states):
            if isinstance(line, dict):
                self._learn([line])
                yield line

    def _learn(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            for name in row.get("metrics") or ():
                self._columns.setdefault(_column(name))

    def _write(self, stream: Any, rows: Iterable[dict[str, Any]]) -> None:
        writer = csv.writer(stream, lineterminator="\n")
        for row in rows:
            metrics = {_column(name): v for name, v in metrics_from_disk(row.get("metrics")).items()}
            cells = [_cell(row.get(name)) for name in BASE]
            writer.writerow(cells + [_cell(metrics.get(name)) for name in self._columns])


def _column(name: str) -> str:
    """A metric's column; one that is called as a column of every state says that it is a metric."""
    shown = printable(name)
    return f"metrics.{shown}" if shown in BASE else shown


def _cell(value: Any) -> str:
    if value is None:
        return ""
    try:
        return repr(number_from_disk(value))
    except ValueError:
        return ""


def _ends(path: Path) -> tuple[list[str] | None, list[str] | None]:
    """First and last record of a CSV file; None for one that is not there or torn."""
    try:
        with open(path, "rb") as stream:
            first = stream.readline()
            stream.seek(max(len(first), os.fstat(stream.fileno()).st_size - _TAIL))
            tail = stream.read().splitlines(keepends=True)
    except OSError:
        return None, None
    last = tail[-1] if tail else b""
    parsed = [next(csv.reader([raw.decode("utf-8", "replace")]), None) for raw in (first, last)]
    return parsed[0], parsed[1] if last.endswith(b"\n") else None


def _last_line(path: Path) -> dict[str, Any] | None:
    try:
        size = path.stat().st_size
    except OSError:
        return None
    last = None
    for line in files.read_json_lines(path, offset=max(0, size - _TAIL)):
        last = line
    return last if isinstance(last, dict) else None
