"""The elements of a view in row-major order, read in pieces wherever its bytes lie in another order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

CHUNK = 1 << 20
CAST: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Code of an item of that many bytes in a memoryview."""
_WHOLE_SPAN = 16 << 20  # a view with gaps is read at once up to this size, else run by run
_SCATTERED_SPAN = 256 << 20  # and one whose runs are shorter than a page, up to this
_PAGE = 4096

Read = Callable[[int, int], bytes]
"""Bytes of a storage: from which byte on, and how many."""


def run(read: Read, start: int, length: int) -> Iterator[bytes]:
    """`length` bytes in pieces of at most 1 MB."""
    for done in range(start, start + length, CHUNK):
        yield read(done, min(CHUNK, start + length - done))


def gathered(read: Read, start: int, shape: Sequence[int], stride: Sequence[int], width: int) -> Iterator[bytes]:
    """The elements in the order of `shape`, whose last dimensions are read as runs where they lie side by side.

    `start` is the first element's byte, `stride` counts elements of `width` bytes; no extent is 0.
    """
    inner, outer = 1, len(shape)
    while outer and stride[outer - 1] == inner:
        inner *= shape[outer - 1]
        outer -= 1
    if outer == 0:
        yield from run(read, start, inner * width)
        return
    span = (sum((extent - 1) * step for extent, step in zip(shape, stride, strict=True)) + 1) * width
    limit = _WHOLE_SPAN if inner * width >= _PAGE else _SCATTERED_SPAN
    whole = memoryview(read(start, span)) if span <= limit else None
    single = inner == 1 and width in CAST and whole is not None and stride[outer - 1] > 0
    loops = outer - 1 if single else outer
    for offset in _offsets(shape[:loops], stride[:loops]):
        if whole is None:
            yield from run(read, start + offset * width, inner * width)
        elif single:
            count, step = shape[outer - 1], stride[outer - 1]
            begin = offset * width
            row = whole[begin : begin + ((count - 1) * step + 1) * width].cast(CAST[width])
            yield row[::step].tobytes()
        else:
            yield whole[offset * width : (offset + inner) * width].tobytes()


def _offsets(shape: Sequence[int], stride: Sequence[int]) -> Iterator[int]:
    """Offsets of all positions of some dimensions, last one fastest."""
    index = [0] * len(shape)
    offset = 0
    while True:
        yield offset
        for dimension in range(len(shape) - 1, -1, -1):
            index[dimension] += 1
            offset += stride[dimension]
            if index[dimension] < shape[dimension]:
                break
            offset -= stride[dimension] * shape[dimension]
            index[dimension] = 0
        else:
            return
