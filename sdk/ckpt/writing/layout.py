"""Where each record of a torch archive lies in its file."""

from __future__ import annotations

from ckpt.records import Record


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
