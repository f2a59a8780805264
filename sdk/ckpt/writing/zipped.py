"""The parts of a zip file around its contents, byte for byte as torch's own writer makes them.

Contents are stored, not compressed. Sizes and checksum stand behind each content, in a descriptor.
"""

from __future__ import annotations

import struct

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_NARROW = 0xFFFFFFFF
"""What a field of 32 bits says when the value stands in one of 64 bits."""
_UTF8 = 0x800
_STREAMED = 0x8
_MAKER, _NEEDED = 0x031E, 45
_PADDING = b"FB"
MOST_EXTRA = 0xFFFF
"""Bytes that may stand between a name and its content."""


def local_size(name: bytes, header: int, size: int) -> int:
    """Bytes of a local header at offset `header`, with the least padding that it can have."""
    return _LOCAL.size + len(name) + len(_wide(header, size, 0)) + 4


def local_header(name: bytes, header: int, offset: int, size: int) -> bytes:
    """A local header at offset `header`, padded up to the content at `offset`; the content has `size` bytes."""
    wide = _wide(header, size, 0)
    padding = offset - header - local_size(name, header, size)
    extra = wide + struct.pack("<2sH", _PADDING, padding) + b"Z" * padding
    fixed = _LOCAL.pack(b"PK\x03\x04", 0, _flags(size), 0, 0, 0, 0, 0, 0, len(name), len(extra))
    return fixed + name + extra


def descriptor(header: int, size: int, crc: int) -> bytes:
    """What stands behind a content: checksum and sizes. Empty contents have none."""
    if not size:
        return b""
    return struct.pack("<4sI2Q" if _is_wide(header, size) else "<4s3I", b"PK\x07\x08", crc, size, size)


def descriptor_size(header: int, size: int) -> int:
    """Bytes of `descriptor`."""
    return 0 if not size else 24 if _is_wide(header, size) else 16


def central_entry(name: bytes, header: int, size: int, crc: int) -> bytes:
    """A content's entry in the central directory."""
    wide = _wide(header, size, size)
    narrow = min(size, _NARROW)
    lengths = (narrow, narrow, len(name), len(wide), 0)
    fixed = _CENTRAL.pack(b"PK\x01\x02", 0, 0, _flags(size), 0, 0, 0, crc, *lengths, 0, 0, 0, min(header, _NARROW))
    return fixed + name + wide


def central_size(name: bytes, header: int, size: int) -> int:
    """Bytes of `central_entry`."""
    return len(central_entry(name, header, size, 0))


END_SIZE = _END64.size + _LOCATOR.size + _END.size


def end(entries: int, directory: int, length: int) -> bytes:
    """What ends the file: `entries` in a directory of `length` bytes at offset `directory`."""
    few = min(entries, 0xFFFF)
    return (
        _END64.pack(b"PK\x06\x06", _END64.size - 12, _MAKER, _NEEDED, 0, 0, entries, entries, length, directory)
        + _LOCATOR.pack(b"PK\x06\x07", 0, directory + length, 1)
        + _END.pack(b"PK\x05\x06", 0, 0, few, few, min(length, _NARROW), min(directory, _NARROW), 0)
    )


def _flags(size: int) -> int:
    return _UTF8 | (_STREAMED if size else 0)


def _is_wide(header: int, size: int) -> bool:
    return size >= _NARROW or header >= _NARROW


def _wide(header: int, size: int, packed: int) -> bytes:
    """The zip64 field: only what does not fit elsewhere. torch writes the offset into the local header too, and 0 for
    the packed size there, as it stands in the header itself.
    """
    values = (*((size, packed) if size >= _NARROW else ()), *((header,) if header >= _NARROW else ()))
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""
