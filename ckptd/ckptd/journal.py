"""The daemon's own record of what it did: an append-only file, written before the act that it tells of.

Every line has `seq`, `at` and `kind`. Acts are marks, removals, restores, purges and undos; `reserve` lines keep event
numbers from being used twice across restarts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ckpt import encoding, files

RESERVED = 10_000  # event numbers that one line sets aside
TAIL = 4 << 20  # bytes at the end of the file that are read back


class Journal:
    """Numbers events and keeps acts. With `path` None nothing is kept on disk."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._appender: files.Appender | None = None
        last = 0
        for line in self._tail():
            for name in ("seq", "limit"):
                if isinstance(line.get(name), int):
                    last = max(last, line[name])
        self._seq = self._limit = last
        if path is not None:
            self._appender = files.Appender(path, mode=0o600)

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
        """The remembered acts, oldest first."""
        return [line for line in self._tail() if line.get("kind") != "reserve"]

    def close(self) -> None:
        """Closes the file; may be called twice."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def _next(self) -> int:
        if self._seq >= self._limit:
            self._limit = self._seq + RESERVED
            self._write({"at": time.time(), "kind": "reserve", "limit": self._limit})
        self._seq += 1
        return self._seq

    def _write(self, line: dict[str, Any]) -> None:
        if self._appender is not None:
            self._appender.append(encoding.dumps(line), sync=True)

    def _tail(self) -> Iterator[dict[str, Any]]:
        if self._path is None:
            return
        try:
            size = self._path.stat().st_size
        except OSError:
            return
        for line in files.read_json_lines(self._path, offset=max(0, size - TAIL)):
            if isinstance(line, dict):
                yield line
