"""A tensor's bytes in pieces, in an order that two tensors share, without holding either of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from ckpt.formats.containers.tensors import Placed
from ckpt.formats.dtypes import ITEM_BYTES
from ckpt.formats.source import Damaged

CHUNK = 1 << 20
_WHOLE_SPAN = 16 << 20  # a view with gaps is read at once up to this size, else run by run
_SCATTERED_SPAN = 256 << 20  # and one whose runs are shorter than a page, up to this
_PAGE = 4096
_CAST: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


def equal_bytes(a: Placed, b: Placed) -> bool:
    """Whether two tensors of one shape and dtype hold the same bits, element by element.

    Memory stays at a few chunks where both lie in memory in one order; a view whose elements lie scattered in the
    order of the other is held whole up to 256 MB. Raises OSError, Unreadable.
    """
    if a.tensor.storage is None or b.tensor.storage is None:
        return a.tensor.storage is b.tensor.storage or not a.info.bytes
    if not a.info.bytes:
        return True
    if a.contiguous and b.contiguous:
        return _same_runs(a, b)
    shape, stride_a, stride_b = _aligned(a, b)
    width = ITEM_BYTES[a.info.dtype]
    elements = math.prod(shape)
    if elements * width > 2 * max(a.span, b.span):
        # Views that look at their bytes many times over: the bytes behind both say it all.
        if stride_a != stride_b:
            raise Damaged(f"tensor {a.info.name!r} overlaps itself in two different ways")
        return _same_runs(a, b)
    left = _gathered(a, shape, stride_a, width)
    right = _gathered(b, shape, stride_b, width)
    return _same(left, right)


def _aligned(a: Placed, b: Placed) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Shape and both strides with the dimensions in the order of a's memory, widest steps first.

    Dimensions of one element, and those in which both repeat one element, are left out.
    """
    rows = [
        (sa, sb, extent)
        for extent, sa, sb in zip(a.info.shape, a.tensor.stride, b.tensor.stride, strict=True)
        if extent != 1 and (sa or sb)
    ]
    rows.sort(key=lambda row: row[0], reverse=True)
    return tuple(row[2] for row in rows), tuple(row[0] for row in rows), tuple(row[1] for row in rows)


def _same_runs(a: Placed, b: Placed) -> bool:
    runs = zip(_run(a, a.start, a.span), _run(b, b.start, b.span), strict=True)
    return all(left == right for left, right in runs)


def _read(placed: Placed, start: int, length: int) -> bytes:
    if placed.home is None or placed.tensor.storage is None:
        raise Damaged(f"tensor {placed.info.name!r} has no bytes")
    return placed.home.bytes_of(placed.tensor.storage, start, length)


def _run(placed: Placed, start: int, length: int) -> Iterator[bytes]:
    for done in range(start, start + length, CHUNK):
        yield _read(placed, done, min(CHUNK, start + length - done))


def _gathered(placed: Placed, shape: Sequence[int], stride: Sequence[int], width: int) -> Iterator[bytes]:
    """The elements in the order of `shape`, whose last dimensions are read as runs where they lie side by side."""
    inner, outer = 1, len(shape)
    while outer and stride[outer - 1] == inner:
        inner *= shape[outer - 1]
        outer -= 1
    at = placed.start
    if outer == 0:
        yield from _run(placed, placed.start, inner * width)
        return
    limit = _WHOLE_SPAN if inner * width >= _PAGE else _SCATTERED_SPAN
    whole = memoryview(_read(placed, at, placed.span)) if placed.span <= limit else None
    single = inner == 1 and width in _CAST and whole is not None and stride[outer - 1] > 0
    loops = outer - 1 if single else outer
    for offset in _offsets(shape[:loops], stride[:loops]):
        if whole is None:
            start = at + offset * width
            for done in range(0, inner * width, CHUNK):
                yield _read(placed, start + done, min(CHUNK, inner * width - done))
        elif single:
            count, step = shape[outer - 1], stride[outer - 1]
            begin = offset * width
            row = whole[begin : begin + ((count - 1) * step + 1) * width].cast(_CAST[width])
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


def _same(left: Iterator[bytes], right: Iterator[bytes]) -> bool:
    """Whether two streams of pieces are the same bytes, however they are cut."""
    rest_left = rest_right = memoryview(b"")
    while True:
        if not len(rest_left):
            rest_left = memoryview(next(left, b""))
        if not len(rest_right):
            rest_right = memoryview(next(right, b""))
        common = min(len(rest_left), len(rest_right))
        if not common:
            return not len(rest_left) and not len(rest_right)
        if rest_left[:common].tobytes() != rest_right[:common].tobytes():
            return False
        rest_left, rest_right = rest_left[common:], rest_right[common:]
