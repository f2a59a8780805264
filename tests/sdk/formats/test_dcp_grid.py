"""The geometry of sharded tensors against a plain walk over all elements."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt.formats.directories.dcp.grid import Grid, Visits
from ckpt.formats.directories.dcp.metadata import Chunk, Place
from ckpt.formats.source import Damaged, TooLarge

NOWHERE = Place("file", 0, 0)
Span = tuple[int, int]


@st.composite
def cut_shapes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Chunk]]:
    """A shape, and boxes that make it up: cut in two again and again along any dimension."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=0, max_size=4)))
    boxes: list[list[Span]] = [[(0, extent) for extent in shape]]
    for _ in range(draw(st.integers(0, 6))):
        if not shape:
            break
        number = draw(st.integers(0, len(boxes) - 1))
        dimension = draw(st.integers(0, len(shape) - 1))
        low, high = boxes[number][dimension]
        if high - low < 2:
            continue
        middle = draw(st.integers(low + 1, high - 1))
        left, right = list(boxes[number]), list(boxes[number])
        left[dimension], right[dimension] = (low, middle), (middle, high)
        boxes[number : number + 1] = [left, right]
    chunks = [Chunk(tuple(a for a, _ in box), tuple(b - a for a, b in box), NOWHERE) for box in boxes]
    return shape, draw(st.permutations(chunks))


def owners(shape: tuple[int, ...], chunks: list[Chunk]) -> list[tuple[Chunk, int]]:
    """For every element of the tensor in row-major order the chunk that holds it, and its number in the chunk."""
    found = []
    for index in itertools.product(*(range(extent) for extent in shape)):
        for chunk in chunks:
            inside = [i - a for i, a in zip(index, chunk.offsets, strict=True)]
            if all(0 <= i < n for i, n in zip(inside, chunk.sizes, strict=True)):
                number = 0
                for i, n in zip(inside, chunk.sizes, strict=True):
                    number = number * n + i
                found.append((chunk, number))
                break
    return found


@given(cut_shapes(), st.data())
@settings(deadline=None, max_examples=100)
def test_the_pieces_of_any_run_are_its_elements(cut: tuple[tuple[int, ...], list[Chunk]], data: st.DataObject) -> None:
    shape, chunks = cut
    total = math.prod(shape)
    start = data.draw(st.integers(0, total))
    length = data.draw(st.integers(0, total - start))
    found: dict[int, tuple[Chunk, int]] = {}
    for piece in Grid(shape, chunks, Visits()).pieces(start, length):
        number = 0
        for group in piece.groups():
            for row in range(piece.count):
                for at in range(group + row * piece.stride, group + row * piece.stride + piece.row):
                    assert at not in found
                    found[at] = (piece.chunk, piece.start + number)
                    number += 1
        assert number == piece.length
    assert [found[at] for at in range(length)] == owners(shape, chunks)[start : start + length]
    assert len(found) == length


@given(cut_shapes(), st.data())
@settings(deadline=None, max_examples=60)
def test_a_missing_or_doubled_box_is_always_found(
    cut: tuple[tuple[int, ...], list[Chunk]], data: st.DataObject
) -> None:
    shape, chunks = cut
    number = data.draw(st.integers(0, len(chunks) - 1))
    with pytest.raises(Damaged, match="leave a part"):
        Grid(shape, [chunk for chunk in chunks if chunk is not chunks[number]], Visits())
    with pytest.raises(Damaged, match="overlap"):
        Grid(shape, [*chunks, chunks[number]], Visits())


@given(cut_shapes(), st.data())
@settings(deadline=None, max_examples=60)
def test_a_box_that_was_moved_or_resized_is_always_found(
    cut: tuple[tuple[int, ...], list[Chunk]], data: st.DataObject
) -> None:
    shape, chunks = cut
    if not shape:
        return
    number = data.draw(st.integers(0, len(chunks) - 1))
    dimension = data.draw(st.integers(0, len(shape) - 1))
    offsets, sizes = list(chunks[number].offsets), list(chunks[number].sizes)
    changed = data.draw(st.sampled_from((offsets, sizes)))
    changed[dimension] += data.draw(st.sampled_from((-1, 1)))
    if offsets[dimension] < 0 or sizes[dimension] < 1:
        return
    others = [chunk for chunk in chunks if chunk is not chunks[number]]
    with pytest.raises(Damaged):
        Grid(shape, [*others, Chunk(tuple(offsets), tuple(sizes), NOWHERE)], Visits())


def test_a_proof_ends_when_its_visits_are_spent() -> None:
    chunks = [Chunk((row,), (1,), NOWHERE) for row in range(100)]
    with pytest.raises(TooLarge):
        Grid((100,), chunks, Visits(50))


def test_many_ranks_take_few_visits() -> None:
    visits = Visits()
    Grid((4096, 64), [Chunk((row, 0), (1, 64), NOWHERE) for row in range(4096)], visits)
    Grid((64, 64), [Chunk((a, b), (1, 1), NOWHERE) for a in range(64) for b in range(64)], visits)
    assert visits.left > Visits().left - 50_000
