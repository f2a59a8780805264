"""How far a training came, from the ends of the files that it writes its metrics to."""

from __future__ import annotations

import math
import os
from pathlib import Path

from ckpt.records import Record
from ckpt.scan.failing import is_failing
from ckpt.scan.live.growing import Growing
from ckpt.scan.live.places import Look
from ckpt.scan.live.rows import Row, loss_of
from ckpt.scan.live.sources import SOURCES, Source, Written

_BESIDE_MAX = 32  # files beside each other of which the ends are read


class Reached(Record, frozen=True, kw_only=True):
    """The last state that a training wrote."""

    epoch: float | None = None
    step: int | None = None
    """None where only epochs are counted."""
    loss: float | None = None
    at: float
    """When the file was last written to, in Unix seconds."""


def reached(directory: Path) -> Reached | None:
    """The last state that a run's training wrote, of whichever source was written to last; None where none tells it.

    Reads at most the first and the last 64 KB of a file. Content never makes it raise; OSError only where a disk or
    the system fails.
    """
    look = Look(os.path.realpath(directory))
    found: list[tuple[float, Source, list[Written]]] = []
    for source in SOURCES:
        dated = sorted(((_modified(written.path), written) for written in source.files(look)), key=lambda d: d[0])
        if dated:
            chosen = dated[-_BESIDE_MAX:] if source.beside else dated[-1:]
            found.append((dated[-1][0], source, [written for _, written in chosen]))
    # Sorting is stable: of sources that were written to together, the first one wins.
    for at, source, files in sorted(found, key=lambda item: -item[0]):
        rows = [row for written in files for row in _last(written)]
        if rows:
            return _state(rows, source, at)
    return None


def _state(rows: list[Row], source: Source, at: float) -> Reached:
    last = rows[-1] if source.together else max(rows, key=lambda row: row.step)
    told = (row.epoch for row in reversed(rows) if row.epoch is not None and math.isfinite(row.epoch))
    epoch = next((int(epoch) if epoch.is_integer() else epoch for epoch in told), None)
    return Reached(epoch=epoch, step=None if last.by_epoch else last.step, loss=loss_of(rows), at=at)


def _last(written: Written) -> list[Row]:
    try:
        with Growing(written.path) as file:
            head = file.head()
            form = written.form()
            rows = form.last(file)
            # A table that gets another header while it is read tells nothing now.
            return rows if file.only_grew(head, file.edge(form.offset), form.offset) else []
    except OSError as error:
        if is_failing(error):
            raise
        return []


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
