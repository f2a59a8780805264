"""A part of a file that is a whole file of its own to whoever reads it."""

from __future__ import annotations

from ckpt.formats.source import Source, Unfinished


class Slice(Source):
    """`length` bytes of a source from `offset` on, read through it. Raises Unfinished when it does not reach so far."""

    def __init__(self, whole: Source, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > whole.size:
            raise Unfinished(f"the file ends at byte {whole.size}, before byte {offset + length}")
        self.path = whole.path
        self.size = length
        self.bytes_read = 0
        self._whole = whole
        self._offset = offset
        self._head = b""

    def read(self, offset: int, length: int) -> bytes:
        """As `Source.read`, within the part; counts here and in the whole file."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Unfinished(f"this part of the file ends at byte {self.size}, before byte {offset + length}")
        data = self._whole.read(self._offset + offset, length)
        self.bytes_read += length
        return data

    def close(self) -> None:
        """Nothing to give back: the whole file is its owner's."""
