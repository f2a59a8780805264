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
_REMEMBERED_POINTS = 250_000  # points of one file; more would take too much memory to keep
_TRIES = 3


@dataclass(slots=True)
class _Read:
    """What was read of a file, and by what to know the file again."""

    identity: tuple[int, int]
    head: bytes
    edge: bytes
    form: Form
    collected: Collected


_Key = tuple[str, str, int]
_remembered: OrderedDict[_Key, _Read] = OrderedDict()
_lock = threading.Lock()
# Who asks for a file that another is reading for the first time waits, and goes on from there.
_turns = tuple(threading.Lock() for _ in range(64))


def collect(source: Source, files: list[Written], points: int) -> dict[str, list[tuple[int, float]]]:
    """The curves in a source's files. Raises OSError only where a disk or the system fails."""
    whole = Collected(points, together=source.together)
    for written in files:
        key = (written.path, source.name, points)
        try:
            with _turns[hash(key) % len(_turns)], Growing(written.path) as file:
                read = _read(file, key, written, source)
                if read is None:
                    continue
                alone = read.collected.curves() if len(files) == 1 else None
                if alone is None:
                    whole.follow(read.collected)
                if file.size >= REMEMBER_BYTES and read.collected.held <= _REMEMBERED_POINTS:
                    # Others may go on with it from here.
                    _keep(key, read)
        except OSError as error:
            if is_failing(error):
                raise
            continue
        if alone is not None:
            return alone
    return whole.curves()


def _read(file: Growing, key: _Key, written: Written, source: Source) -> _Read | None:
    """Reads on in a file. One that is rewritten meanwhile is read again, so no row is taken under a wrong header."""
    for _ in range(_TRIES):
        read = _take(key, file)
        if read is None:
            read = _Read(file.identity, b"", b"", written.form(), Collected(key[2], together=source.together))
        read.head = file.head()
        read.form.read(file, read.collected.add)
        read.edge = file.edge(read.form.offset)
        if file.only_grew(read.head, read.edge, read.form.offset):
            return read
    return None


def _take(key: _Key, file: Growing) -> _Read | None:
    """What is remembered of a file that only grew since. Nobody else has it until it is kept again."""
    with _lock:
        read = _remembered.pop(key, None)
    if read is None or read.identity != file.identity or not file.only_grew(read.head, read.edge, read.form.offset):
        return None
    return read


def _keep(key: _Key, read: _Read) -> None:
    with _lock:
        _remembered[key] = read
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
