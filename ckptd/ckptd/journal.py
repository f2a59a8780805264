"""The daemon's own record of what it did: append-only files, written before the act that they tell of.

Every line has `seq`, `at` and `kind`. Acts are marks, moves, removals, restores, purges and undos; `reserve` lines keep
event numbers from being used twice across restarts. A file that has grown large is set aside as `journal-000001.jsonl`,
`journal-000002.jsonl` … and kept; the present one is always called the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ckpt import encoding, files

RESERVED = 10_000  # event numbers that one line sets aside
TAIL = 4 << 20  # bytes at the end that are read back for what is usually asked
FILE_MAX = 64 << 20  # bytes after which a file is set aside


class Journal:
    """Numbers events and keeps acts. With `path` None nothing is kept on disk. May be used from several threads."""

    def __init__(self, path: Path | None, *, file_max: int = FILE_MAX) -> None:
        """Raises OSError when the file cannot be read and written."""
        self._path = path
        self._file_max = file_max
        self._lock = threading.Lock()
        self._appender: files.Appender | None = None
        self._file: tuple[int, int] | None = None
        self._seq = self._limit = self._last_number()
        if path is not None:
            self._open(path)

    @property
    def seq(self) -> int:
        """The last number that was given out."""
        return self._seq

    def next(self) -> int:
        """A number that no event had before, in this daemon's life or an earlier one. Raises OSError."""
        with self._lock:
            return self._next()

    def record(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Writes an act, durable before it returns. Raises OSError: then the act must not happen."""
        with self._lock:
            line = {"seq": self._next(), "at": time.time(), "kind": kind, **fields}
            self._write(line)
            return line

    def acts(self) -> list[dict[str, Any]]:
        """The latest acts, those of the last 4 MB, oldest first."""
        parts: list[list[dict[str, Any]]] = []
        left = TAIL
        for path in reversed(self._files()):
            if left <= 0:
                break
            parts.append(list(_lines(path, last=left)))
            left -= _size(path)
        return [line for part in reversed(parts) for line in part if line.get("kind") != "reserve"]

    def history(self) -> Iterator[dict[str, Any]]:
        """All acts that were ever kept, oldest first. Raises OSError when one of the files cannot be read."""
        for path in self._files():
            for line in _lines(path):
                if line.get("kind") != "reserve":
                    yield line

    def close(self) -> None:
        """Closes the file; may be called twice."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def _next(self) -> int:
        if self._seq >= self._limit:
            limit = self._seq + RESERVED
            self._write({"at": time.time(), "kind": "reserve", "limit": limit})
            self._limit = limit
        self._seq += 1
        return self._seq

    def _write(self, line: dict[str, Any]) -> None:
        if self._path is None:
            return
        appender = self._present(self._path)
        size = _size(self._path)
        try:
            appender.append(encoding.dumps(line), sync=True)
        except OSError:
            # What the caller will not do must not be told, not even by half.
            with contextlib.suppress(OSError):
                os.truncate(self._path, size)
            raise

    def _present(self, path: Path) -> files.Appender:
        """The file that lines go to now: a new one when somebody took the old one away, or it has grown large."""
        found = _identity(path)
        if self._appender is not None and found == self._file and _size(path) < self._file_max:
            return self._appender
        self.close()
        if found == self._file and found is not None:
            os.rename(path, _numbered(path, _number_of(self._files()[-2:-1]) + 1))
        return self._open(path)

    def _open(self, path: Path) -> files.Appender:
        appender = files.Appender(path, mode=0o600)
        try:
            if self._limit and not _size(path):
                # Numbers go on in the new file, whatever becomes of the older ones.
                appender.append(encoding.dumps({"at": time.time(), "kind": "reserve", "limit": self._limit}), sync=True)
            files.fsync_directory(path.parent)
        except BaseException:
            appender.close()
            raise
        self._appender, self._file = appender, _identity(path)
        return appender

    def _files(self) -> list[Path]:
        """All files of the journal, oldest first, the present one last."""
        if self._path is None:
            return []
        pattern = re.compile(re.escape(self._path.stem) + r"-\d{6,}" + re.escape(self._path.suffix))
        older = [path for path in self._path.parent.glob(f"{self._path.stem}-*") if pattern.fullmatch(path.name)]
        return [*sorted(older, key=lambda path: _number_of([path])), self._path]

    def _last_number(self) -> int:
        """A number that no event's is above."""
        for path in reversed(self._files()):
            for last in (TAIL, None):
                numbers, limits = [0], [0]
                for line in _lines(path, last=last):
                    numbers += [line["seq"]] if isinstance(line.get("seq"), int) else []
                    limits += [line["limit"]] if isinstance(line.get("limit"), int) else []
                if max(limits):
                    return max(*limits, *numbers)
                if max(numbers):
                    # What was reserved stands further up, and went no further than this.
                    return max(numbers) + RESERVED
        return 0


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number:06d}{path.suffix}")


def _number_of(paths: list[Path]) -> int:
    """The number in the name of the last of some older files; 0 when there is none."""
    return int(paths[-1].stem.rpartition("-")[2]) if paths else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _lines(path: Path, *, last: int | None = None) -> Iterator[dict[str, Any]]:
    """The objects in a file, or in its last bytes; what a crash or a power cut spoiled is passed over."""
    offset = 0 if last is None else max(0, _size(path) - last)
    for line in files.read_json_lines(path, offset=offset):
        if isinstance(line, dict):
            yield line
