"""Reads the files of a run's metrics, each as far as it is written, and goes on where an earlier question ended."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from ckpt.scan.failing import is_failing
from ckpt.scan.live.forms.form import Form
from ckpt.scan.live.growing import Growing
from ckpt.scan.live.series import Collected
from ckpt.scan.live.sources import Source, Written

REMEMBER_BYTES = 1 << 20
"""A file from this size on is not read again from its start."""
_REMEMBERED = 8  # files
_REMEMBERED_POINTS = 5_000  # points a metric; more would take too much memory to keep
_TRIES = 3


@dataclass(slots=True)
class _Read:
    """What was read of a file, and by what to know it again."""

    identity: tuple[int, int]
    mark: tuple[bytes, bytes]
    form: Form
    collected: Collected


_remembered: OrderedDict[tuple[str, str, int], _Read] = OrderedDict()
_lock = threading.Lock()


def collect(source: Source, files: list[Written], points: int) -> Collected:
    """The series of a source's files. Raises OSError only where a disk or the system fails."""
    whole = Collected(points, together=source.together)
    for written in files:
        try:
            part = _file(source, written, points)
        except OSError as error:
            if is_failing(error):
                raise
            continue
        if len(files) == 1:
            return part
        whole.follow(part)
    return whole


def _file(source: Source, written: Written, points: int) -> Collected:
    """One file. A file that is rewritten while it is read is read again, so no row is taken under a wrong header."""
    for _ in range(_TRIES):
        with Growing(written.path) as file:
            key = (written.path, source.name, points)
            known = _take(key, file) or _Read(
                file.identity, (b"", b""), written.form(), Collected(points, together=source.together)
            )
            before = known.mark = file.mark(known.form.offset)
            head = file.read(0, 4096)
            known.form.read(file, known.collected.add)
            known.mark = file.mark(known.form.offset)
            if not file.still(known.form.offset, known.mark) or file.read(0, len(head)) != head:
                continue
            if known.form.offset < len(before[1]):
                continue
            if file.size >= REMEMBER_BYTES and points <= _REMEMBERED_POINTS:
                _keep(key, known)
            return known.collected
    return Collected(points, together=source.together)


def _take(key: tuple[str, str, int], file: Growing) -> _Read | None:
    """What is remembered of a file, if it only grew since; whoever takes it must keep it again."""
    with _lock:
        known = _remembered.pop(key, None)
    if known is None or known.identity != file.identity or not file.still(known.form.offset, known.mark):
        return None
    return known


def _keep(key: tuple[str, str, int], read: _Read) -> None:
    with _lock:
        _remembered[key] = read
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
