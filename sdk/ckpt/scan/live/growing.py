"""A file that another process may be writing to: read by position, never beyond what a question may cost."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Self

LINE_MAX = 1 << 20
"""Bytes of a line that is read; a longer one is passed over."""
_PIECE = 1 << 20  # bytes that are read at once
_EDGE = 64  # bytes before a position that tell whether the file is the one that was read up to there
_HEAD = 4096  # bytes at the start that tell the same


class Growing:
    """A regular file, open. Raises OSError when it cannot be opened or is of another kind.

    `size` is that of the moment of opening: what is appended meanwhile is for the next question.
    """

    def __init__(self, path: str) -> None:
        flags = os.O_RDONLY
        for name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
            flags |= getattr(os, name, 0)
        self._fd = os.open(path, flags)
        try:
            info = os.fstat(self._fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
        except BaseException:
            os.close(self._fd)
            raise
        self.identity = (info.st_dev, info.st_ino)
        self.size = info.st_size

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`, fewer at the end. Raises OSError."""
        length = min(length, self.size - offset)
        return os.pread(self._fd, length, offset) if length > 0 else b""

    def lines(self, offset: int, *, cut: bool = False) -> Iterator[tuple[bytes, int]]:
        """The whole lines from `offset`, each with the position behind it; one without its end is being written.

        `cut`: the position fell somewhere into a line, which is left out.
        """
        rest = b""
        is_rest = cut
        position = offset
        while piece := self.read(position, _PIECE):
            position += len(piece)
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            start = position - len(rest) - sum(map(len, lines)) - len(lines)
            for line in lines:
                start += len(line) + 1
                if not is_rest and len(line) <= LINE_MAX:
                    yield line, start
                is_rest = False
            if len(rest) > LINE_MAX:
                rest, is_rest = b"", True

    def head(self) -> bytes:
        """The first bytes: a table's header, a document's first members."""
        return self.read(0, _HEAD)

    def edge(self, offset: int) -> bytes:
        """The bytes before a position: the same later, so long as the file only grew."""
        return self.read(max(0, offset - _EDGE), min(_EDGE, offset))

    def only_grew(self, head: bytes, edge: bytes, offset: int) -> bool:
        """Whether the file as it is now still begins as it did, and still has the same bytes before a position."""
        return os.fstat(self._fd).st_size >= offset and self.read(0, len(head)) == head and self.edge(offset) == edge

    def close(self) -> None:
        """Gives the descriptor back; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
