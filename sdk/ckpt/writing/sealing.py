"""Checksums into a file's bytes as they pass, and the hash of the whole.

A CRC32 stands behind each content and again in the central directory, which comes last; so does the identity that is
made of them. Each is known when its place comes, so the bytes pass once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blake3 import blake3
from isal import isal_zlib

from ckpt.records import Record
from ckpt.writing import zipped
from ckpt.writing.layout import Layout, directory

_BLOCK = 512 << 10
"""Bytes that are summed and then hashed: few enough to stay in a core's cache between the two, and so many that a
thread seldom has to wait for the interpreter, which it leaves for both."""


class Seal(Record, frozen=True, kw_only=True):
    """What is known of a file whose bytes have all passed."""

    crcs: tuple[int, ...]
    """CRC32 of each member of the layout."""
    hash: str
    """BLAKE3 of the file, hexadecimal."""


class _Span(Record, frozen=True, kw_only=True):
    """Bytes up to an offset that are treated alike."""

    end: int
    summed: bool = False
    """Whether they belong to the CRC32 of a content."""
    patch: bytes = b""
    """What they must be."""


class Sealer:
    """Seals one file. Bytes that are sealed already are sealed the same way again."""

    def __init__(self, layout: Layout, known: Mapping[int, int]) -> None:
        """`known` has the CRC32 of members, by index, whose bytes are known not to have changed."""
        self._layout = layout
        self._known = known
        self._hasher = blake3()
        self._at = 0
        self._crc = 0
        self._crcs: list[int] = []
        self._spans = self._all_spans()
        self._span = next(self._spans)

    def seal(self, chunk: memoryview) -> None:
        """Completes the next bytes of the file in place. Any lengths will do.

        Raises ValueError for bytes behind the file's end.
        """
        chunk = chunk.cast("B")
        if self._at + len(chunk) > self._layout.size:
            raise ValueError(f"the file has {self._layout.size} bytes, and more came")
        for start in range(0, len(chunk), _BLOCK):
            block = chunk[start : start + _BLOCK]
            self._complete(block)
            self._hasher.update(block)

    def finish(self) -> Seal:
        """What came of it. Raises ValueError when bytes are missing."""
        if self._at != self._layout.size:
            raise ValueError(f"the file has {self._layout.size} bytes, and only {self._at} came")
        return Seal(crcs=tuple(self._crcs), hash=self._hasher.hexdigest())

    def _complete(self, block: memoryview) -> None:
        done = 0
        while done < len(block):
            while self._span.end == self._at:
                self._span = next(self._spans)
            span = self._span
            length = min(len(block) - done, span.end - self._at)
            part = block[done : done + length]
            if span.summed:
                self._crc = isal_zlib.crc32(part, self._crc)
            elif span.patch:
                start = self._at - (span.end - len(span.patch))
                part[:] = span.patch[start : start + length]
            self._at += length
            done += length

    def _all_spans(self) -> Iterator[_Span]:
        """Each span is made when those before it have passed, from what was learned of them."""
        *members, identity = self._layout.members
        for index, member in enumerate(members):
            yield _Span(end=member.offset)
            known = self._known.get(index)
            self._crc = 0 if known is None else known
            end = member.offset + member.size
            yield _Span(end=end, summed=known is None)
            self._crcs.append(self._crc)
            described = zipped.descriptor(member.header, member.size, self._crc)
            yield _Span(end=end + len(described), patch=described)
        yield _Span(end=identity.offset)
        content = _identity(self._layout, self._crcs)
        self._crcs.append(isal_zlib.crc32(content))
        described = zipped.descriptor(identity.header, identity.size, self._crcs[-1])
        yield _Span(end=self._layout.size, patch=content + described + directory(self._layout, self._crcs))


def _identity(layout: Layout, crcs: Sequence[int]) -> bytes:
    """`.data/serialization_id`: 20 digits of the names, 20 of the contents. The folder's name is in neither."""
    skipped = len(layout.stem) + 1
    names = [member.name[skipped:] for member in layout.members[:-1]]
    contents = [f"{name}\0{member.size}\0{crc}" for name, member, crc in zip(names, layout.members, crcs, strict=False)]
    return b"".join(b"%020d" % _number("\n".join(lines)) for lines in (names, contents))


def _number(text: str) -> int:
    return int.from_bytes(blake3(text.encode()).digest(8), "little")
