"""A file that is read in pieces, and what can be wrong with one.

Only what is asked for is read, by position and never by mapping, so that a file which shrinks meanwhile is an
answer and not a signal.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

TAIL_BYTES = 64 << 10
"""How much of a file's end is read at once to find a directory there."""


class Unreadable(Exception):
    """A file's content cannot be read as a checkpoint; `state` is what that makes of it."""

    state: Literal["complete", "incomplete", "corrupt"] = "corrupt"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class Unfinished(Unreadable):
    """The file ends before its content does."""

    state = "incomplete"


class Damaged(Unreadable):
    """The content breaks its format's rules."""

    state: Literal["complete", "incomplete", "corrupt"] = "corrupt"


class TooLarge(Unreadable):
    """The content may be sound, but reading it would cost more than a reader may spend."""

    state = "complete"


class Source:
    """A regular file opened for reading by position.

    `bytes_read` counts what was really read. Raises OSError when the file cannot be opened or is not a regular one.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = os.fspath(path)
        self._fd = -1
        status = self._open()
        self._identity = (status.st_dev, status.st_ino)
        self.size = status.st_size
        self._head = b""
        self.bytes_read = 0

    def _open(self) -> os.stat_result:
        flags = os.O_RDONLY
        for name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
            flags |= getattr(os, name, 0)
        opened = os.open(self.path, flags)
        try:
            status = os.fstat(opened)
            if not stat.S_ISREG(status.st_mode):
                code = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
                raise OSError(code, f"not a regular file: {os.strerror(code)}", self.path)
        except BaseException:
            os.close(opened)
            raise
        self._fd = opened
        return status

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises Unfinished when the file is too short, OSError."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Unfinished(f"the file ends at byte {self.size}, before byte {offset + length}")
        if self._fd < 0:
            status = self._open()
            if (status.st_dev, status.st_ino) != self._identity:
                raise Unfinished("another file came in its place while it was read")
        parts: list[bytes] = []
        missing = length
        while missing:
            part = self._pread(missing, offset + length - missing)
            if not part:
                raise Unfinished(f"the file became shorter than {self.size} bytes while it was read")
            self.bytes_read += len(part)
            missing -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def head(self, length: int) -> bytes:
        """The first bytes of the file, at most 64, fewer where it is shorter; read once."""
        if not self._head:
            self._head = self.read(0, min(64, self.size))
        return self._head[:length]

    if hasattr(os, "pread"):

        def _pread(self, length: int, offset: int) -> bytes:
            return os.pread(self._fd, length, offset)

    else:

        def _pread(self, length: int, offset: int) -> bytes:
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.read(self._fd, length)

    def close(self) -> None:
        """Gives the descriptor back; may be called twice. Reading again opens the file again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
