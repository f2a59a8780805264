"""The geometry of a tensor that is cut into chunks: whether they make it up, and where a run of its elements lies.

Everything counts elements; the tensor and each chunk are in row-major order.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from ckpt.formats.directories.dcp.metadata import Chunk
from ckpt.formats.source import Damaged, TooLarge

MAX_VISITS = 4_000_000


@dataclass(slots=True)
class Visits:
    """How many looks at chunks the proofs of one checkpoint may still take."""

    left: int = MAX_VISITS

    def charge(self, looks: int) -> None:
        """Takes `looks` off. Raises TooLarge when they are spent."""
        self.left -= looks
        if self.left < 0:
            raise TooLarge("its tensors are cut in more ways than are followed")


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements `start` to `start + length` of a chunk, which stand in the wanted run as rows of `row` elements.

    The first row begins at element `at` of the run. There are `count` rows, `stride` elements apart; where there are
    more, `repeats` are the counts and strides of those groups of rows, outermost first.
    """

    chunk: Chunk
    start: int
    length: int
    at: int
    row: int
    count: int = 1
    stride: int = 0
    repeats: tuple[tuple[int, int], ...] = ()

    def groups(self) -> Iterator[int]:
        """Where in the run each group of `count` rows begins, in the order of the chunk."""
        steps = (range(0, count * stride, stride) for count, stride in self.repeats)
        return (self.at + sum(shift) for shift in product(*steps))


class Grid:
    """The chunks of one tensor, all of them with elements.

    Raises Damaged when they overlap, leave a part out or reach outside; TooLarge when to prove that takes too long.
    """

    def __init__(self, shape: tuple[int, ...], chunks: Sequence[Chunk], visits: Visits) -> None:
        self.shape = shape
        self.chunks = sorted(chunks, key=lambda chunk: chunk.offsets)
        self._strides = _strides(shape)
        self._check(visits)
        self._begins = [chunk.offsets[0] if shape else 0 for chunk in self.chunks]
        self._reach: list[int] = []
        for chunk in self.chunks:
            end = chunk.offsets[0] + chunk.sizes[0] if shape else 1
            self._reach.append(max(end, self._reach[-1]) if self._reach else end)

    def pieces(self, start: int, length: int) -> Iterator[Piece]:
        """Where the elements `start` to `start + length` of the tensor lie; together they are exactly those."""
        done = start
        while done < start + length:
            offsets, sizes = self._largest(done, start + length)
            yield from self._within(offsets, sizes, done - start)
            done += math.prod(sizes)

    def _largest(self, start: int, end: int) -> tuple[list[int], list[int]]:
        """Offsets and sizes of the largest box of consecutive elements from `start` on that ends by `end`."""
        sizes = [1] * len(self.shape)
        offsets = [start // stride % extent for stride, extent in zip(self._strides, self.shape, strict=True)]
        for dimension in range(len(self.shape) - 1, -1, -1):
            room = min(self.shape[dimension] - offsets[dimension], (end - start) // self._strides[dimension])
            sizes[dimension] = room
            if room < self.shape[dimension]:
                break
        return offsets, sizes

    def _within(self, offsets: list[int], sizes: list[int], base: int) -> Iterator[Piece]:
        first = offsets[0] if self.shape else 0
        last = first + sizes[0] if self.shape else 1
        for number in range(bisect_right(self._reach, first), bisect_left(self._begins, last)):
            chunk = self.chunks[number]
            low = [max(a, b) for a, b in zip(offsets, chunk.offsets, strict=True)]
            counts = [
                min(a + n, b + m) - at
                for a, n, b, m, at in zip(offsets, sizes, chunk.offsets, chunk.sizes, low, strict=True)
            ]
            if all(count > 0 for count in counts):
                at = base + sum((a - b) * step for a, b, step in zip(low, offsets, self._strides, strict=True))
                yield self._piece(chunk, low, counts, at)

    def _piece(self, chunk: Chunk, low: list[int], counts: list[int], at: int) -> Piece:
        # What is wanted is one element thick in its first dimensions, a stretch in one, and whole in those after it: so
        # the part of a chunk in it is one run of the chunk. In the tensor it is cut wherever the chunk is narrower.
        inner = _strides(chunk.sizes)
        start = sum((a - b) * step for a, b, step in zip(low, chunk.offsets, inner, strict=True))
        cut = len(self.shape)
        while cut and chunk.sizes[cut - 1] == self.shape[cut - 1]:
            cut -= 1
        length = math.prod(counts)
        if cut < 2:
            return Piece(chunk, start, length, at, length)
        return Piece(
            chunk,
            start,
            length,
            at,
            row=math.prod(counts[cut - 1 :]),
            count=counts[cut - 2],
            stride=self._strides[cut - 2],
            repeats=tuple(zip(counts[: cut - 2], self._strides, strict=False)),
        )

    def _check(self, visits: Visits) -> None:
        if not math.prod(self.shape):
            return
        for chunk in self.chunks:
            if any(a + n > extent for a, n, extent in zip(chunk.offsets, chunk.sizes, self.shape, strict=True)):
                raise Damaged("one of its chunks reaches outside of it")
        pending: list[tuple[int, list[Chunk]]] = [(0, self.chunks)]
        while pending:
            dimension, chunks = pending.pop()
            if not chunks:
                raise Damaged("its chunks leave a part of it out")
            if dimension == len(self.shape):
                if len(chunks) > 1:
                    raise Damaged("two of its chunks overlap")
                continue
            pending += [(dimension + 1, slab) for slab in _slabs(self.shape[dimension], dimension, chunks, visits)]


def _slabs(extent: int, dimension: int, chunks: list[Chunk], visits: Visits) -> Iterator[list[Chunk]]:
    """The chunks side by side in each stretch of a dimension in which they are the same ones."""
    begins = sorted(chunks, key=lambda chunk: chunk.offsets[dimension])
    ends = {chunk.offsets[dimension] + chunk.sizes[dimension] for chunk in begins}
    borders = sorted({0, extent, *ends, *(chunk.offsets[dimension] for chunk in begins)})
    active: list[Chunk] = []
    taken = 0
    for border in borders[:-1]:
        active = [chunk for chunk in active if chunk.offsets[dimension] + chunk.sizes[dimension] > border]
        while taken < len(begins) and begins[taken].offsets[dimension] == border:
            active.append(begins[taken])
            taken += 1
        visits.charge(1 + len(active))
        yield active


def _strides(sizes: Sequence[int]) -> tuple[int, ...]:
    strides = [1] * len(sizes)
    for dimension in range(len(sizes) - 2, -1, -1):
        strides[dimension] = strides[dimension + 1] * sizes[dimension + 1]
    return tuple(strides)
