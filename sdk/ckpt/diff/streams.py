"""A tensor's bytes in pieces, in an order that two tensors share, without holding either of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ckpt.formats.containers.strided import Read, gathered, run
from ckpt.formats.containers.tensors import Placed
from ckpt.formats.dtypes import ITEM_BYTES
from ckpt.formats.source import Damaged


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
    left = gathered(_reader(a), a.start, shape, stride_a, width)
    right = gathered(_reader(b), b.start, shape, stride_b, width)
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
    runs = zip(run(_reader(a), a.start, a.span), run(_reader(b), b.start, b.span), strict=True)
    return all(left == right for left, right in runs)


def _reader(placed: Placed) -> Read:
    home, storage = placed.home, placed.tensor.storage
    if home is None or storage is None:
        raise Damaged(f"tensor {placed.info.name!r} has no bytes")
    return lambda start, length: home.bytes_of(storage, start, length)


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
