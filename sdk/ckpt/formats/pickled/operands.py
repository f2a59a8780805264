"""What stands behind an opcode: so many bytes, or a line of text."""

from __future__ import annotations

from ckpt.formats.source import Damaged, Unfinished

MAX_LINE = 4096


def take(data: bytes, pos: int, length: int) -> bytes:
    """`length` bytes from `pos` on. Raises Unfinished when there are fewer."""
    if length > len(data) - pos:
        raise Unfinished("its pickle ends inside a value")
    return data[pos : pos + length]


def take_line(data: bytes, pos: int, *, limit: int = MAX_LINE) -> tuple[bytes, int]:
    """A line from `pos` on without its end, and the position behind it. Raises Unfinished, Damaged above `limit`."""
    end = data.find(b"\n", pos, pos + limit + 1)
    if end < 0:
        if pos + limit >= len(data):
            raise Unfinished("its pickle ends inside a line")
        raise Damaged("its pickle holds an endless line")
    return data[pos:end], end + 1
