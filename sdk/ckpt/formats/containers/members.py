"""Members of ordinary zip archives, which may be compressed: small ones as bytes, large ones as slices."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from itertools import islice
from typing import Any

from ckpt.formats import bounded_json
from ckpt.formats.containers import zipdir
from ckpt.formats.containers.family import NotACheckpoint
from ckpt.formats.containers.slices import Slice
from ckpt.formats.source import Damaged, Source, TooLarge

_LOCAL = struct.Struct("<4s5H3I2H")
_DEFLATED = 8
_COMPARED = 64


def begins_with(source: Source, name: bytes) -> bool:
    """Whether the file is a zip archive whose first member has that name; `name` has at most 34 bytes."""
    head = source.head(_LOCAL.size + len(name))
    if len(head) < _LOCAL.size + len(name) or not head.startswith(zipdir.LOCAL_MAGIC):
        return False
    return int.from_bytes(head[26:28], "little") == len(name) and head[_LOCAL.size :] == name


def content(source: Source, entry: zipdir.Entry, *, limit: int) -> bytes:
    """A member's bytes, its checksum proven. Raises TooLarge above `limit` bytes, Damaged."""
    if entry.stored:
        return zipdir.read_entry(source, entry, limit=limit)
    if entry.method != _DEFLATED:
        raise Damaged(f"entry {entry.name!r} of the zip is compressed in an unknown way")
    if max(entry.size, entry.packed) > limit:
        raise TooLarge(f"entry {entry.name!r} of the zip has {entry.size} bytes, more than is read")
    header = source.read(entry.offset, _LOCAL.size)
    magic, *_, name_length, extra_length = _LOCAL.unpack(header)
    start = entry.offset + _LOCAL.size + name_length + extra_length
    if magic != zipdir.LOCAL_MAGIC or start + entry.packed > entry.limit:
        raise Damaged(f"entry {entry.name!r} of the zip contradicts the zip directory")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(source.read(start, entry.packed), entry.size + 1)
    except zlib.error:
        raise Damaged(f"entry {entry.name!r} of the zip is broken") from None
    if len(inflated) != entry.size or zlib.crc32(inflated) != entry.crc:
        raise Damaged(f"entry {entry.name!r} of the zip does not have the content that was written")
    return inflated


def stored(source: Source, entry: zipdir.Entry) -> Slice:
    """A stored member as a source. Raises Damaged when it is compressed or its two headers differ."""
    return Slice(source, zipdir.content_offset(source, entry), entry.size)


def of_others(source: Source, entries: Collection[zipdir.Entry], missing: str) -> Damaged:
    """What to raise for an archive without the members of a checkpoint: damage where its two listings differ.

    Only the first of its members are looked at. Raises OSError, Unfinished.
    """
    for entry in islice(entries, _COMPARED):
        name = entry.name.encode("utf-8", "surrogateescape")
        header = source.read(entry.offset, _LOCAL.size + len(name))
        if not header.startswith(zipdir.LOCAL_MAGIC) or header[_LOCAL.size :] != name:
            return Damaged(f"entry {entry.name!r} of the zip contradicts the zip directory")
    return NotACheckpoint(f"no reader knows it: it is a zip file without {missing}")


def parsed(source: Source, entry: zipdir.Entry, *, limit: int) -> dict[str, Any]:
    """A member that is a JSON object. Raises TooLarge, Damaged."""
    raw = content(source, entry, limit=limit)
    try:
        value = bounded_json.parse(raw)
    except ValueError:
        raise Damaged(f"entry {entry.name!r} of the zip is not valid JSON") from None
    if type(value) is not dict:
        raise Damaged(f"entry {entry.name!r} of the zip is not a JSON object")
    return value
