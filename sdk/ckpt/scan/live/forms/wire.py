"""The wire format of protocol buffers: numbered fields, read without a schema and within bounds."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

FIELDS_MAX = 20_000
"""Fields of one message that are read."""


def fields(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, kind and value of each field: an integer for a varint, else the bytes as they lie.

    Raises ValueError where the message breaks the format's rules.
    """
    at, size = 0, len(message)
    for _ in range(FIELDS_MAX):
        if at >= size:
            return
        key, at = varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = varint(message, at)
            yield key >> 3, kind, value
            continue
        if kind == BYTES:
            length, at = varint(message, at)
        elif kind == FIXED32:
            length = 4
        elif kind == FIXED64:
            length = 8
        else:
            raise ValueError(f"no field has the kind {kind}")
        if at + length > size:
            raise ValueError("a field is longer than its message")
        yield key >> 3, kind, message[at : at + length]
        at += length
    raise ValueError("too many fields")


def varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a position, and the position behind it. Raises ValueError."""
    value = shift = 0
    while shift < 70:
        if at >= len(message):
            raise ValueError("a number is cut")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise ValueError("a number is longer than 64 bits")


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - (1 << 64) if value >> 63 else value
