"""The bytes of a file that is to be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from ckpt.writing.layout import Layout

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
