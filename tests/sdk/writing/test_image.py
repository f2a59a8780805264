"""Images in chunks: consecutive, writable, at pages; from memory, or put together from parts."""

from __future__ import annotations

import ctypes
import mmap
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt.writing import image as images
from ckpt.writing.image import CHUNK, LiveImage, Part, StagedImage
from ckpt.writing.layout import Layout
from ckpt.writing.memory import SharedMemory


def layout(size: int) -> Layout:
    return Layout(stem="s", members=(), first_storage=0, storages=0, directory=0, size=size)


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_ubyte.from_buffer(view))


def read(data: bytes, start: int, into: memoryview) -> None:
    into[:] = data[start : start + len(into)]


def part(offset: int, data: bytes) -> Part:
    return Part(offset, len(data), partial(read, data))


def test_staged_chunks_are_the_memory_itself() -> None:
    memory = SharedMemory(2 * CHUNK + 100)
    image = StagedImage(memory, layout(2 * CHUNK + 100), {3: 4})
    chunks = list(image.chunks())
    assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, 100]
    assert [address(chunk) - memory.address for chunk in chunks] == [0, CHUNK, 2 * CHUNK]
    chunks[1][:3] = b"abc"
    assert bytes(list(image.chunks())[1][:3]) == bytes(memory.view[CHUNK : CHUNK + 3]) == b"abc"
    assert image.known == {3: 4}
    memory.close()


def test_a_staged_image_without_its_memory_gives_no_bytes() -> None:
    memory = SharedMemory(1)
    with pytest.raises(ValueError, match="its memory"):
        list(StagedImage(memory, layout(memory.size + 1)).chunks())
    memory.close()
    with pytest.raises(ValueError, match="closed"):
        list(StagedImage(memory, layout(1)).chunks())


def test_a_live_image_comes_through_two_chunks_at_pages_and_a_chunk_lives_until_two_more_are_taken() -> None:
    data = [bytes([number]) * CHUNK for number in range(1, 5)]
    image = LiveImage(layout(4 * CHUNK + 5), [part(number * CHUNK, piece) for number, piece in enumerate(data)])
    chunks = image.chunks()
    first, second = next(chunks), next(chunks)
    assert (bytes(first), bytes(second)) == (data[0], data[1])
    assert {address(first) % mmap.PAGESIZE, address(second) % mmap.PAGESIZE} == {0}
    third = next(chunks)
    assert address(third) == address(first)
    assert (bytes(second), bytes(third)) == (data[1], data[2])
    fourth, last = chunks
    assert bytes(last) == bytes(5)
    assert bytes(fourth) == data[3]


def test_what_was_written_into_a_chunk_is_not_there_on_another_attempt() -> None:
    image = LiveImage(layout(3 * CHUNK), [part(10, b"abc"), part(2 * CHUNK + 1, b"def")])
    expected = [bytes(chunk) for chunk in image.chunks()]
    for chunk in image.chunks():
        chunk[:] = b"x" * len(chunk)
    assert [bytes(chunk) for chunk in image.chunks()] == expected
    assert expected[0][:14] == bytes(10) + b"abc\0"
    assert expected[1] == bytes(CHUNK)
    assert expected[2][:5] == b"\0def\0"


def test_an_error_of_a_part_comes_through() -> None:
    def fail(start: int, into: memoryview) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(LiveImage(layout(10), [Part(0, 10, fail)]).chunks())


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 20000)), max_size=12),
    st.integers(1, 9000),
    st.randoms(use_true_random=False),
)
def test_a_live_image_is_its_parts_wherever_they_begin_and_end(
    gaps: list[tuple[int, int]], tail: int, random: Random
) -> None:
    """With chunks of a page, dirtied as soon as they were read."""
    at, expected, parts = 0, b"", []
    for number, (gap, size) in enumerate(gaps):
        data = bytes([number + 1]) * size
        parts.append(part(at + gap, data))
        expected += bytes(gap) + data
        at += gap + size
    expected += bytes(tail)
    random.shuffle(parts)
    got = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "CHUNK", 4096)
        for chunk in LiveImage(layout(len(expected)), parts).chunks():
            got.append(bytes(chunk))
            chunk[:] = b"\xff" * len(chunk)
    assert b"".join(got) == expected
    assert all(len(chunk) == 4096 for chunk in got[:-1])
