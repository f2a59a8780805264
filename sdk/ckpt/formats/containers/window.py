"""A part of a file as a file of its own: what lies uncompressed inside of an archive."""

from __future__ import annotations

from ckpt.formats.source import Source, Unfinished


class Window(Source):
    """`length` bytes of a source from `start` on. Reading counts at the source, which has to stay open."""

    def __init__(self, source: Source, start: int, length: int) -> None:
        # Nothing of a source's own opening: there is only the one descriptor.
        self.path = source.path
        self.size = length
        self.bytes_read = 0
        self._head = b""
        self._fd = -1
        self._source = source
        self._start = start

    def read(self, offset: int, length: int) -> bytes:
        """As `Source.read`, within the part."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Unfinished(f"the part of the file ends at byte {self.size}, before byte {offset + length}")
        return self._source.read(self._start + offset, length)

    def close(self) -> None:
        """Does nothing: the source is its opener's."""
