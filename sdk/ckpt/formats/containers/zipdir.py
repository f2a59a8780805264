"""The directory of a zip file, read with bounds and believed only where it is consistent.

Ranges lie inside the file and do not overlap, names are unique, nothing is encrypted, and an entry that is read must
be stored as it is and say the same in its own header as in the directory. Nothing is ever inflated.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from ckpt.formats.source import TAIL_BYTES, Damaged, Source, TooLarge, Unfinished

MAX_DIRECTORY_BYTES = 32 << 20
MAX_ENTRIES = 100_000
LOCAL_MAGIC = b"PK\x03\x04"
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_STREAMED = 0x8  # sizes and checksum stand behind the content instead of in the local header
_ENCRYPTED = 0x1 | 0x20 | 0x40 | 0x2000


@dataclass(slots=True)
class Entry:
    """One file in the zip. `crc` is 0 where the writer kept none; `limit` is where the next thing in the zip begins."""

    name: str
    crc: int
    size: int
    packed: int
    offset: int
    flags: int
    method: int
    limit: int

    @property
    def stored(self) -> bool:
        """Whether its bytes stand in the file as they are."""
        return self.method == 0


def read_directory(source: Source) -> dict[str, Entry]:
    """The entries of a zip by name.

    Raises Unfinished when it has no directory yet, Damaged when the directory contradicts itself or the file, TooLarge,
    OSError.
    """
    tail_at = max(0, source.size - TAIL_BYTES)
    tail = source.read(tail_at, source.size - tail_at)
    end_at, count, length, offset = _find_end(source, tail, tail_at)
    if offset + length != end_at:
        raise Damaged("the zip directory does not end where it says")
    if length > MAX_DIRECTORY_BYTES:
        raise TooLarge(f"its zip directory has {length} bytes")
    if count * _CENTRAL.size > length:
        raise Damaged(f"the zip directory is too short for {count} entries")
    if count > MAX_ENTRIES:
        raise TooLarge(f"its zip directory has {count} entries, more than are read")
    before = source.read(offset, min(length, tail_at - offset)) if offset < tail_at else b""
    raw = before + tail[max(0, offset - tail_at) : max(0, end_at - tail_at)]
    entries = _parse(raw, count, offset)
    _check_ranges(entries, offset)
    return {entry.name: entry for entry in entries}


def _find_end(source: Source, tail: bytes, tail_at: int) -> tuple[int, int, int, int]:
    """Where the directory ends, its number of entries, its length and its offset."""
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size <= len(tail):
            _, disk, first, here, count, length, offset, comment = _END.unpack_from(tail, at)
            if at + _END.size + comment == len(tail):
                if disk or first or here != count:
                    raise Damaged("the zip is spread over several disks")
                return _wide_end(source, tail, tail_at, at, (count, length, offset))
            if offset + length in (tail_at + at, tail_at + at - _LOCATOR.size - _END64.size):
                raise Damaged("there are bytes behind the zip directory")
        at = tail.rfind(b"PK\x05\x06", 0, at)
    raise Unfinished("it has no zip directory yet: it is being written, or its writing was cut short")


def _wide_end(
    source: Source, tail: bytes, tail_at: int, at: int, narrow: tuple[int, int, int]
) -> tuple[int, int, int, int]:
    count, length, offset = narrow
    locator_at = at - _LOCATOR.size
    if locator_at < 0 or tail[locator_at : locator_at + 4] != b"PK\x06\x07":
        if 0xFFFFFFFF in (length, offset) or count == 0xFFFF:
            raise Damaged("the zip directory's zip64 part is missing")
        return tail_at + at, count, length, offset
    _, disk, wide_at, disks = _LOCATOR.unpack_from(tail, locator_at)
    if disk or disks != 1 or wide_at + _END64.size > tail_at + locator_at:
        raise Damaged("the zip directory's zip64 part is not where it should be")
    magic, rest, _, _, disk, first, here, wide_count, wide_length, wide_offset = _END64.unpack(
        source.read(wide_at, _END64.size) if wide_at < tail_at else tail[wide_at - tail_at :][: _END64.size]
    )
    if magic != b"PK\x06\x06" or disk or first or here != wide_count:
        raise Damaged("the zip directory's zip64 part is broken")
    if wide_at + 12 + rest != tail_at + locator_at:
        raise Damaged("the zip directory's zip64 part does not end where it says")
    for narrow_value, wide_value, unknown in (
        (count, wide_count, 0xFFFF),
        (length, wide_length, 0xFFFFFFFF),
        (offset, wide_offset, 0xFFFFFFFF),
    ):
        if narrow_value not in (wide_value, unknown):
            raise Damaged("the zip directory contradicts its zip64 part")
    return wide_at, wide_count, wide_length, wide_offset


def _parse(raw: bytes, count: int, end: int) -> list[Entry]:
    entries: list[Entry] = []
    pos = 0
    for _ in range(count):
        if pos + _CENTRAL.size > len(raw):
            raise Damaged("the zip directory is too short for its entries")
        (magic, _, _, flags, method, _, _, crc, packed, size, name_len, extra_len, comment_len, disk, _, _, offset) = (
            _CENTRAL.unpack_from(raw, pos)
        )
        start = pos + _CENTRAL.size
        pos = start + name_len + extra_len + comment_len
        if magic != b"PK\x01\x02" or pos > len(raw) or disk not in (0, 0xFFFF):
            raise Damaged("the zip directory holds a broken entry")
        name = raw[start : start + name_len].decode("utf-8", "surrogateescape")
        if 0xFFFFFFFF in (packed, size, offset):
            extra = raw[start + name_len : start + name_len + extra_len]
            size, packed, offset = _wide_sizes(extra, size, packed, offset)
        if method == 0 and packed != size:
            raise Damaged(f"entry {name!r} of the zip is not compressed and has two sizes")
        if flags & _ENCRYPTED:
            raise Damaged(f"entry {name!r} of the zip is encrypted")
        entries.append(Entry(name, crc, size, packed, offset, flags, method, end))
    if pos != len(raw):
        raise Damaged("the zip directory holds more than its entries")
    return entries


def _wide_sizes(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    pos = 0
    while pos + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, pos)
        if kind == 1:
            wide = extra[pos + 4 : pos + 4 + length]
            values = [value if value != 0xFFFFFFFF else None for value in (size, packed, offset)]
            needed = values.count(None)
            if len(wide) < 8 * needed:
                break
            found = iter(struct.unpack_from(f"<{needed}Q", wide))
            full = [value if value is not None else next(found) for value in values]
            return full[0], full[1], full[2]
        pos += 4 + length
    raise Damaged("the zip directory holds an entry whose zip64 sizes are missing")


def _check_ranges(entries: list[Entry], end: int) -> None:
    names = {entry.name for entry in entries}
    if len(names) != len(entries):
        raise Damaged("the zip directory names an entry twice")
    limit = end
    for entry in sorted(entries, key=lambda e: e.offset, reverse=True):
        if entry.offset + _LOCAL.size + len(entry.name) + entry.packed > limit:
            raise Damaged(f"entry {entry.name!r} of the zip overlaps what follows it")
        entry.limit = limit
        limit = entry.offset


def content_offset(source: Source, entry: Entry) -> int:
    """Where an entry's content begins, by its own header, which must agree with the directory.

    Raises Damaged where it does not; OSError.
    """
    return _content(entry, source.read(entry.offset, _LOCAL.size + len(_raw_name(entry))))


def _raw_name(entry: Entry) -> bytes:
    return entry.name.encode("utf-8", "surrogateescape")


def _content(entry: Entry, header: bytes) -> int:
    if not entry.stored:
        raise Damaged(f"entry {entry.name!r} of the zip is compressed")
    (magic, _, flags, method, _, _, crc, packed, size, name_len, extra_len) = _LOCAL.unpack_from(header)
    name = _raw_name(entry)
    later = flags & _STREAMED
    agrees = (
        magic == LOCAL_MAGIC
        and flags == entry.flags
        and method == 0
        and name_len == len(name)
        and header[_LOCAL.size : _LOCAL.size + name_len] == name
        and (crc == entry.crc or (later and crc == 0))
        and all(value in (entry.size, 0xFFFFFFFF) or (later and value == 0) for value in (packed, size))
    )
    start: int = entry.offset + _LOCAL.size + name_len + extra_len
    if not agrees or start + entry.size > entry.limit:
        raise Damaged(f"entry {entry.name!r} of the zip contradicts the zip directory")
    return start


def read_entry(source: Source, entry: Entry, *, limit: int) -> bytes:
    """An entry's content, its checksum proven where there is one.

    Raises TooLarge above `limit` bytes, Damaged, OSError.
    """
    if entry.size > limit:
        raise TooLarge(f"entry {entry.name!r} of the zip has {entry.size} bytes, more than is read")
    # Header and content in one read: padding between the two is seldom longer than a few dozen bytes.
    span = min(entry.limit - entry.offset, _LOCAL.size + len(_raw_name(entry)) + 64 + entry.size)
    block = source.read(entry.offset, span)
    start = _content(entry, block) - entry.offset
    content = block[start : start + entry.size]
    if len(content) < entry.size:
        content += source.read(entry.offset + start + len(content), entry.size - len(content))
    if entry.crc and zlib.crc32(content) != entry.crc:
        raise Damaged(f"entry {entry.name!r} of the zip does not have the content that was written")
    return content
