"""Where each record of a torch archive lies in its file: pure.

The records and their order are those of torch.save. Three things differ, and every reader takes them:

- Large storages begin at a multiple of a page, so that they can be written past the page cache, mapped and cloned.
- What follows the pickle begins at a rounded offset. The pickle's size moves from save to save, by the digits of a
  step; with room behind it the storages stay where they were.
- `.format_version` is 0: torch computes no offsets then, which it would by one alignment for all, but reads them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ckpt.records import Record
from ckpt.writing import zipped

PAGE = 4096
"""Alignment of large storages, bytes."""
ALIGNMENT = 64
"""Alignment of everything else, bytes."""
LARGE = 64 << 10
"""Storages of at least so many bytes are large."""
IDENTITY_SIZE = 40
"""Digits of `.data/serialization_id`."""

_SMALLEST_STEP, _LARGEST_STEP = 1 << 10, 32 << 10
_BEFORE = ((".format_version", b"0"), (".storage_alignment", b"%d" % ALIGNMENT), ("byteorder", sys.byteorder.encode()))
_BEHIND = (("version", b"3\n"), (".data/serialization_id", b"0" * IDENTITY_SIZE))


class Member(Record, frozen=True, kw_only=True):
    """One record of the archive."""

    name: str
    header: int
    """Offset of its local header, bytes."""
    offset: int
    """Offset of its data, bytes."""
    size: int
    """Bytes of its data."""


class Layout(Record, frozen=True, kw_only=True):
    """The whole file: members in file order, then the central directory."""

    stem: str
    """The folder that all names in the archive begin with."""
    members: tuple[Member, ...]
    first_storage: int
    """Index of `data/0` in the members; the storages follow each other."""
    storages: int
    """How many there are."""
    directory: int
    """Offset of the central directory, bytes."""
    size: int
    """Bytes of the file."""


def lay_out(stem: str, pickle_size: int, storages: Sequence[int], like: Layout | None = None) -> Layout:
    """Where everything lies, for a pickle and storages of so many bytes.

    `like` is the layout of an earlier save: its room behind the pickle is kept where the pickle fits into it, also
    where the rounding alone would choose another. Raises ValueError for a stem that is no folder name.
    """
    if not stem or "/" in stem or len(stem.encode()) > 0x7FFF:
        raise ValueError(f"{stem!r} cannot name the folder in an archive")
    first = _place(f"{stem}/data.pkl", 0, pickle_size, ALIGNMENT)
    members = [first, _behind_room(stem, first, like)]
    if like is not None and _has_same_storages(like, stem, members[1], storages):
        return like.evolve(members=(*members, *like.members[2:]))  # type: ignore[no-any-return]
    for name, content in _BEFORE[1:]:
        members.append(_after(members[-1], f"{stem}/{name}", len(content), ALIGNMENT))
    first_storage = len(members)
    for number, size in enumerate(storages):
        members.append(_after(members[-1], f"{stem}/data/{number}", size, PAGE if size >= LARGE else ALIGNMENT))
    for name, content in _BEHIND:
        members.append(_after(members[-1], f"{stem}/{name}", len(content), ALIGNMENT))
    start = _end_of(members[-1])
    length = sum(zipped.central_size(member.name.encode(), member.header, member.size) for member in members)
    return Layout(
        stem=stem,
        members=tuple(members),
        first_storage=first_storage,
        storages=len(storages),
        directory=start,
        size=start + length + zipped.END_SIZE,
    )


def frame(layout: Layout, pickle: bytes) -> Iterator[tuple[int, bytes]]:
    """All bytes of the file but those of the storages: offset and bytes, in file order.

    Checksums and identity are zeros, which sealing replaces. Raises ValueError when the pickle is not of the size that
    the layout is for.
    """
    members = layout.members
    if len(pickle) != members[0].size:
        raise ValueError(f"the layout is for a pickle of {members[0].size} bytes, and this has {len(pickle)}")
    pieces, entries = _around(members[2:], layout.storages)
    start, data = 0, b"".join(_record(members[0], pickle) + _record(members[1], _BEFORE[0][1])) + pieces[0][1]
    for following, piece in pieces[1:]:
        yield start, data
        start, data = following, piece
    entries = _entries(members[:2], (0, 0)) + entries
    yield start, data + entries + zipped.end(len(members), layout.directory, len(entries))


@lru_cache(maxsize=2)
def _around(members: tuple[Member, ...], storages: int) -> tuple[list[tuple[int, bytes]], bytes]:
    """What lies around the storages, and the entries in the directory, for all but what moves with the pickle.

    From save to save these are the same, and the training waits while they are made.
    """
    contents = [*(content for _, content in _BEFORE[1:]), *([b""] * storages), *(content for _, content in _BEHIND)]
    pieces: list[tuple[int, bytes]] = []
    start, parts = 0, []
    for index, (member, content) in enumerate(zip(members, contents, strict=True)):
        header, *rest = _record(member, content)
        parts.append(header)
        if 0 <= index - (len(_BEFORE) - 1) < storages:
            pieces.append((start, b"".join(parts)))
            start, parts = member.offset + member.size, []
        parts += rest
    return [*pieces, (start, b"".join(parts))], _entries(members, [0] * len(members))


def _record(member: Member, content: bytes) -> list[bytes]:
    """A local header, its content, and the empty descriptor."""
    header = zipped.local_header(member.name.encode(), member.header, member.offset, member.size)
    return [header, content, zipped.descriptor(member.header, member.size, 0)]


def _entries(members: Sequence[Member], crcs: Sequence[int]) -> bytes:
    return b"".join(
        zipped.central_entry(member.name.encode(), member.header, member.size, crc)
        for member, crc in zip(members, crcs, strict=True)
    )


def fixed(layout: Layout) -> Iterator[tuple[int, bytes]]:
    """What the layout alone decides, offset and bytes in file order: the local headers, and the small records."""
    contents = dict(enumerate((content for _, content in _BEFORE), 1))
    contents[layout.first_storage + layout.storages] = _BEHIND[0][1]
    for index, member in enumerate(layout.members):
        header = zipped.local_header(member.name.encode(), member.header, member.offset, member.size)
        yield member.header, header + contents.get(index, b"")


def directory(layout: Layout, crcs: Sequence[int]) -> bytes:
    """The central directory and what ends the file, with the CRC32 of each member."""
    entries = _entries(layout.members, crcs)
    return entries + zipped.end(len(layout.members), layout.directory, len(entries))


def _place(name: str, header: int, size: int, alignment: int) -> Member:
    least = header + zipped.local_size(name.encode(), header, size)
    return Member(name=name, header=header, offset=_rounded(least, alignment), size=size)


def _after(before: Member, name: str, size: int, alignment: int) -> Member:
    return _place(name, _end_of(before), size, alignment)


def _end_of(member: Member) -> int:
    return member.offset + member.size + zipped.descriptor_size(member.header, member.size)


def _behind_room(stem: str, pickle: Member, like: Layout | None) -> Member:
    """The record behind the pickle; the room is padding in its header, so the file has no gap.

    Rounded to the power of two nearest above an eighth of the pickle, at least 1 KiB and at most 32 KiB: a small file
    does not grow much, and padding stays within what a header can have.
    """
    name, content = _BEFORE[0]
    least = _after(pickle, f"{stem}/{name}", len(content), ALIGNMENT)
    step = min(max(1 << (pickle.size // 8).bit_length(), _SMALLEST_STEP), _LARGEST_STEP)
    offset = _rounded(least.offset, step)
    if like is not None:
        kept = like.members[1].offset
        if least.offset <= kept <= least.header + zipped.MOST_EXTRA:
            offset = kept
    return least.evolve(offset=offset)  # type: ignore[no-any-return]


def _has_same_storages(like: Layout, stem: str, behind: Member, storages: Sequence[int]) -> bool:
    """Whether all behind the first two members is as in an earlier layout."""
    theirs = like.members[like.first_storage : like.first_storage + like.storages]
    same_room = like.stem == stem and like.members[1].offset == behind.offset
    return same_room and [member.size for member in theirs] == list(storages)


def _rounded(value: int, step: int) -> int:
    return -(-value // step) * step
