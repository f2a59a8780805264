"""The geometry of a tensor that is cut into boxes: whether they make it up, and where a run of its elements lies in them.

Everything counts elements; tensor and boxes are in row-major order each.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ckpt.formats.source import Damaged, TooLarge

MAX_VISITS = 4_000_000


@dataclass(frozen=True, slots=True)
class Box:
    """Part of a tensor: where it begins and how far it goes in each dimension."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements `start` to `start + length` of box number `box`, which stand in the wanted run as `rows` rows.

    The first row begins at element `at` of the run, the others `stride` elements after the one before.
    """

    box: int
    start: int
    length: int
    at: int
    rows: int
    stride: int


class Grid:
    """The boxes of one tensor, none of them without elements.

    Raises Damaged when they overlap, leave a part out or reach outside; TooLarge when to prove that takes too long.
    """

    def __init__(self, shape: tuple[int, ...], boxes: Sequence[Box]) -> None:
        self.shape = shape
        self.boxes = sorted(boxes, key=lambda box: box.offsets)
        self._strides = _strides(shape)
        self._visits = MAX_VISITS
        self._check()
        self._begins = [box.offsets[0] if shape else 0 for box in self.boxes]
        self._reach: list[int] = []
        for box in self.boxes:
            end = box.offsets[0] + box.sizes[0] if shape else 1
            self._reach.append(max(end, self._reach[-1]) if self._reach else end)

    def pieces(self, start: int, length: int) -> Iterator[Piece]:
        """Where the elements `start` to `start + length` of the tensor lie; together they are exactly those."""
        done = start
        while done < start + length:
            box = self._largest(done, start + length)
            yield from self._in(box, done - start)
            done += math.prod(box.sizes)

    def _largest(self, start: int, end: int) -> Box:
        """The largest box of consecutive elements from `start` on that ends at `end` at the latest."""
        sizes = [1] * len(self.shape)
        offsets = [start // stride % extent for stride, extent in zip(self._strides, self.shape, strict=True)]
        for dimension in range(len(self.shape) - 1, -1, -1):
            stride = self._strides[dimension]
            room = min(self.shape[dimension] - offsets[dimension], (end - start) // stride)
            sizes[dimension] = max(1, room)
            if room < self.shape[dimension]:
                break
        return Box(tuple(offsets), tuple(sizes))

    def _in(self, wanted: Box, base: int) -> Iterator[Piece]:
        first = wanted.offsets[0] if self.shape else 0
        last = first + wanted.sizes[0] if self.shape else 1
        for number in range(bisect_right(self._reach, first), bisect_left(self._begins, last)):
            box = self.boxes[number]
            low = [max(a, b) for a, b in zip(wanted.offsets, box.offsets, strict=True)]
            high = [
                min(a + n, b + m)
                for a, n, b, m in zip(wanted.offsets, wanted.sizes, box.offsets, box.sizes, strict=True)
            ]
            if all(a < b for a, b in zip(low, high, strict=True)):
                yield from self._rows(number, box, wanted, low, high, base)

    def _rows(
        self, number: int, box: Box, wanted: Box, low: list[int], high: list[int], base: int
    ) -> Iterator[Piece]:
        # What is wanted is one element thick in its first dimensions, a stretch in one, and whole in those after it: so
        # the part of a box in it is one run of the box. In the tensor it is cut wherever the box is narrower.
        inner = _strides(box.sizes)
        start = sum((a - b) * stride for a, b, stride in zip(low, box.offsets, inner, strict=True))
        at = sum((a - b) * stride for a, b, stride in zip(low, wanted.offsets, self._strides, strict=True)) + base
        cut = len(self.shape)
        while cut and box.sizes[cut - 1] == self.shape[cut - 1]:
            cut -= 1
        counts = [b - a for a, b in zip(low, high, strict=True)]
        if cut == 0:
            yield Piece(number, start, math.prod(counts), at, 1, 0)
            return
        row = math.prod(counts[cut - 1 :])
        yield from self._spread(number, counts[: cut - 1], start, at, row)

    def _spread(self, number: int, counts: list[int], start: int, at: int, row: int) -> Iterator[Piece]:
        """Rows of `row` elements, as many as `counts` makes: one piece for all that are equally far apart."""
        if not counts:
            yield Piece(number, start, row, at, 1, 0)
            return
        last = len(counts) - 1
        rows, stride = counts[last], self._strides[last]
        index = [0] * last
        done = 0
        while True:
            shift = sum(i * self._strides[dimension] for dimension, i in enumerate(index))
            yield Piece(number, start + done, rows * row, at + shift, rows, stride)
            done += rows * row
            for dimension in range(last - 1, -1, -1):
                index[dimension] += 1
                if index[dimension] < counts[dimension]:
                    break
                index[dimension] = 0
            else:
                return

    def _check(self) -> None:
        if not math.prod(self.shape):
            return
        for box in self.boxes:
            if any(a + n > extent for a, n, extent in zip(box.offsets, box.sizes, self.shape, strict=True)):
                raise Damaged("one of its chunks reaches outside of it")
        pending = [(0, self.boxes)]
        while pending:
            dimension, boxes = pending.pop()
            if not boxes:
                raise Damaged("its chunks leave a part of it out")
            if dimension == len(self.shape):
                if len(boxes) > 1:
                    raise Damaged("two of its chunks overlap")
                continue
            pending += [(dimension + 1, slab) for slab in self._slabs(dimension, boxes)]

    def _slabs(self, dimension: int, boxes: Sequence[Box]) -> Iterator[list[Box]]:
        """The boxes side by side in each stretch of a dimension in which they are the same ones."""
        begins = sorted(boxes, key=lambda box: box.offsets[dimension])
        ends = {box.offsets[dimension] + box.sizes[dimension] for box in begins}
        borders = sorted({0, self.shape[dimension], *ends, *(box.offsets[dimension] for box in begins)})
        active: list[Box] = []
        taken = 0
        for border in borders[:-1]:
            active = [box for box in active if box.offsets[dimension] + box.sizes[dimension] > border]
            while taken < len(begins) and begins[taken].offsets[dimension] == border:
                active.append(begins[taken])
                taken += 1
            self._visits -= 1 + len(active)
            if self._visits < 0:
                raise TooLarge("its chunks are cut in more ways than are followed")
            yield active


def _strides(sizes: Sequence[int]) -> tuple[int, ...]:
    strides = [1] * len(sizes)
    for dimension in range(len(sizes) - 2, -1, -1):
        strides[dimension] = strides[dimension + 1] * sizes[dimension + 1]
    return tuple(strides)
