"""Records behind each other in a file, as event files have them.

length: uint64   masked CRC-32C of the length: uint32   data   masked CRC-32C of the data: uint32
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckpt.scan.live.forms.crc32c import masked
from ckpt.scan.live.growing import Growing

RECORD_MAX = 64 << 10
"""Bytes of a record that is read; a longer one holds pictures or graphs and is stepped over."""
_HEADER = 12
_FOOTER = 4
_PIECE = 256 << 10
# A length below 2^24, which any record that is read has.
_LENGTH = re.compile(rb"(?=[\0-\xff]{3}\0{5})", re.S)


def records(file: Growing, offset: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Data, the checksum beside it, and the position behind each whole record; longer ones come as no data at all.

    Ends at the first that is cut, as while it is written, or whose length is not what its checksum says.
    """
    start, held = offset, b""
    while True:
        at = offset - start
        if len(held) - at < _HEADER + RECORD_MAX + _FOOTER and start + len(held) < file.size:
            start, held, at = offset, file.read(offset, _PIECE), 0
        header = held[at : at + _HEADER]
        if len(header) < _HEADER or not _is_header(header):
            return
        length = int.from_bytes(header[:8], "little")
        end = offset + _HEADER + length + _FOOTER
        if end > file.size:
            return
        if length > RECORD_MAX:
            yield b"", b"", end
        else:
            data = held[at + _HEADER : at + _HEADER + length]
            yield data, held[at + _HEADER + length : at + _HEADER + length + _FOOTER], end
        offset = end


def is_sound(data: bytes, checksum: bytes) -> bool:
    """Whether a record's data are those that were written."""
    return masked(data) == int.from_bytes(checksum, "little")


def first_record(file: Growing, offset: int, length: int) -> int | None:
    """Where the first record begins in a piece that starts anywhere; None where none does."""
    piece = file.read(offset, length)
    for found in _LENGTH.finditer(piece):
        header = piece[found.start() : found.start() + _HEADER]
        if len(header) == _HEADER and any(header[:8]) and _is_header(header):
            return offset + found.start()
    return None


def _is_header(header: bytes) -> bool:
    return masked(header[:8]) == int.from_bytes(header[8:], "little")
