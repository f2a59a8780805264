"""The bytes of a file that is to be written."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ckpt.writing.layout import Layout
from ckpt.writing.memory import SharedMemory

CHUNK = 8 << 20
"""Bytes that are sealed and written at a time."""


class Image(Protocol):
    """A file's bytes in file order, as far as they are known before the checksums are."""

    @property
    def layout(self) -> Layout:
        """Where what lies."""

    @property
    def known(self) -> Mapping[int, int]:
        """Members whose CRC32 is known already: index to value."""

    def chunks(self) -> Iterator[memoryview]:
        """Consecutive parts, writable, CHUNK bytes each but the last, each beginning at a page of memory.

        A part is valid until two more have been taken. May be called again, for another attempt.
        """


@dataclass(frozen=True)
class StagedImage:
    """A file that lies in memory as it will lie on disk, from the memory's first byte on."""

    memory: SharedMemory
    layout: Layout
    known: Mapping[int, int] = field(default_factory=dict)
    changed_bytes: int = 0
    """Bytes of the storages that were copied because they differ from what lay there, or might."""

    def chunks(self) -> Iterator[memoryview]:
        """See `Image`. Raises ValueError when the memory was closed or is too small."""
        view = self.memory.view
        if len(view) < self.layout.size:
            raise ValueError(f"the image has {self.layout.size} bytes, its memory {len(view)}")
        for start in range(0, self.layout.size, CHUNK):
            yield view[start : min(start + CHUNK, self.layout.size)]


class Part(NamedTuple):
    """Bytes of a file that lie somewhere else until they are written."""

    offset: int
    """Where they belong in the file."""
    size: int
    read: Callable[[int, memoryview], None]
    """Copies the bytes from a position on into a part of memory, as many as that takes."""


class LiveImage:
    """A file that is put together from live memory while it is written, through two chunks: no whole copy.

    What is written is what lies there while the chunks are taken, so nobody may change it meanwhile.
    """

    def __init__(self, layout: Layout, parts: Iterable[Part]) -> None:
        """`parts` may come in any order, and must not overlap; what they leave out is zero."""
        self.layout = layout
        self.known: Mapping[int, int] = {}
        self._parts = sorted((part for part in parts if part.size), key=lambda part: part.offset)

    def chunks(self) -> Iterator[memoryview]:
        """See `Image`. Raises what reading a part raises."""
        length = min(CHUNK, self.layout.size)
        buffers = [memoryview(mmap.mmap(-1, length)) for _ in range(2 if length < self.layout.size else 1)]
        index = 0  # of the first part that reaches beyond the chunk's start
        for number, start in enumerate(range(0, self.layout.size, CHUNK)):
            end = min(start + CHUNK, self.layout.size)
            chunk = buffers[number % 2][: end - start]
            done = start
            while index < len(self._parts) and self._parts[index].offset < end:
                part = self._parts[index]
                begin, stop = max(part.offset, start), min(part.offset + part.size, end)
                chunk[done - start : begin - start] = bytes(begin - done)
                part.read(begin - part.offset, chunk[begin - start : stop - start])
                done = stop
                if part.offset + part.size > end:
                    break
                index += 1
            chunk[done - start :] = bytes(end - done)
            yield chunk
