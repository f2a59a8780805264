"""What a file states about its own bytes: the checksums of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckpt.formats.containers import zipdir
from ckpt.formats.containers.slices import Slice
from ckpt.formats.source import Damaged, Source


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a file for which it states a CRC-32; `name` is what lies there."""

    name: str
    start: int
    length: int
    crc: int


def stated(source: Source, slices: Sequence[tuple[int, int]] = ()) -> tuple[Range, ...]:
    """The checksums that a file states, by its bytes and not by its name, in the order of the file.

    Zip files state one for every entry, if their writer made them; no other family does. `slices`, offsets and lengths,
    are files of their own that lie in it, looked at instead of the whole. Raises Unreadable where a zip contradicts
    itself or two slices overlap, OSError.
    """
    if not slices:
        return _of_zip(source, 0)
    ranges: list[Range] = []
    reached = 0
    for start, length in slices:
        if start < reached:
            raise Damaged(f"what lies in it at byte {start} overlaps what lies before it")
        ranges += _of_zip(Slice(source, start, length), start)
        reached = start + length
    return tuple(ranges)


def _of_zip(source: Source, start: int) -> tuple[Range, ...]:
    if source.head(4) != zipdir.LOCAL_MAGIC:
        return ()
    entries = zipdir.read_directory(source).values()
    checked = [entry for entry in entries if entry.crc and entry.size and entry.stored]
    ranges = [
        Range(entry.name, start + zipdir.content_offset(source, entry), entry.size, entry.crc) for entry in checked
    ]
    return tuple(sorted(ranges, key=lambda part: part.start))
