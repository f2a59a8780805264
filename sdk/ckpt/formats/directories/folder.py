"""The files of a checkpoint directory: listed once, within bounds, and opened when they are asked for."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

from ckpt.formats import bounded_json
from ckpt.formats.containers.family import Content, Family, samples
from ckpt.formats.containers.slices import Slice
from ckpt.formats.directories.bounds import MAX_DEPTH, MAX_FILES
from ckpt.formats.directories.links import reached
from ckpt.formats.source import Damaged, Source, TooLarge, Unfinished

MAX_WHOLE_BYTES = 16 << 20
_OPEN = 32  # descriptors that one folder holds at a time
_WHOLE_BYTES = 64 << 10  # a file up to this size tells itself in full


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in the directory, or one that a link there leads to: its name relative to it, with slashes.

    `info` is the file's own stat, never that of a link.
    """

    name: str
    path: str
    info: os.stat_result


@dataclass(frozen=True, slots=True)
class Dangling:
    """A link in the directory that leads to nothing that can be reached."""

    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """A file in the directory that a family has recognised, proved whole and read."""

    family: Family
    content: Content

    @property
    def top(self) -> Any:
        """Its tree of values."""
        return self.content.top


def members(path: str) -> Iterator[Member]:
    """All regular files at and below a directory, and those that links there lead to. Raises OSError, TooLarge.

    Links to directories are not followed.
    """
    return (found for found in _found(path) if isinstance(found, Member))


def _found(path: str) -> Iterator[Member | Dangling]:
    pending = [("", path, 0)]
    count = 0
    while pending:
        prefix, directory, depth = pending.pop()
        with os.scandir(directory) as listing:
            entries = sorted(islice(listing, MAX_FILES - count + 1), key=lambda entry: entry.name)
        count += len(entries)
        if count > MAX_FILES:
            raise TooLarge(f"it holds more than {MAX_FILES} files")
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth >= MAX_DEPTH:
                    raise TooLarge(f"its directories are nested deeper than {MAX_DEPTH} levels")
                pending.append((f"{prefix}{entry.name}/", entry.path, depth + 1))
                continue
            info = reached(entry)
            if info is not None and stat.S_ISREG(info.st_mode):
                yield Member(prefix + entry.name, entry.path, info)
            elif info is None and entry.is_symlink():
                yield Dangling(prefix + entry.name)


class Folder:
    """A directory with what is in it, open for reading. Raises OSError, TooLarge when it cannot be listed."""

    def __init__(self, path: str, opener: Callable[[Source], Family]) -> None:
        self.path = os.path.abspath(path)
        self.name = os.path.basename(self.path)
        found = sorted(_found(self.path), key=lambda member: member.name)
        self.files: dict[str, Member] = {member.name: member for member in found if isinstance(member, Member)}
        self.dangling = tuple(link.name for link in found if isinstance(link, Dangling))
        self.directories = frozenset(name[: name.index("/", start)] for name in self.files for start in _slashes(name))
        self._opener = opener
        self._sources: dict[str, Source] = {}
        self._recent: dict[str, Source] = {}  # those that may hold a descriptor, the one used last at the end
        self._parts: dict[str, Part] = {}

    @property
    def size(self) -> int:
        """Size of all its files, each inode once."""
        held = {(m.info.st_dev, m.info.st_ino): m.info.st_size for m in self.files.values()}
        return sum(held.values())

    @property
    def bytes_read(self) -> int:
        """How much of its files was read so far."""
        return sum(source.bytes_read for source in self._sources.values())

    @property
    def consulted(self) -> frozenset[str]:
        """Names of the files that were opened so far."""
        return frozenset(self._sources)

    def source(self, name: str) -> Source:
        """A file of the directory, open; Unfinished when it is not there."""
        if name not in self.files:
            raise Unfinished(f"{name} is missing{': its link leads to nothing' * (name in self.dangling)}")
        known = self._sources.get(name)
        if known is None:
            known = self._sources[name] = Source(self.files[name].path)
        self._recent.pop(name, None)
        self._recent[name] = known
        if len(self._recent) > _OPEN:
            self._recent.pop(next(iter(self._recent))).close()
        return known

    def raw(self, name: str, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """A whole file. Raises TooLarge for one of more than `limit` bytes."""
        source = self.source(name)
        if source.size > limit:
            raise TooLarge(f"{name} has {source.size} bytes, more than is read")
        return source.read(0, source.size)

    def json(self, name: str) -> Any:
        """A JSON file's value. Raises Unfinished for an empty or cut one, Damaged for what is no JSON."""
        raw = self.raw(name)
        if not raw.strip():
            raise Unfinished(f"{name} is empty")
        try:
            return bounded_json.parse(raw)
        except json.JSONDecodeError as error:
            whole = error.doc.rstrip()
            cut = error.pos >= len(whole) - 1 or (whole[0] in "{[" and whole[-1] not in "}]")
            kind = Unfinished if cut else Damaged
            raise kind(f"{name} is not valid JSON: {error.msg} at byte {error.pos}") from None
        except ValueError:
            raise Damaged(f"{name} is not valid JSON") from None
        except TooLarge as error:
            raise TooLarge(f"{name}: {error.problem}") from None

    def text(self, name: str, limit: int = 4096) -> str:
        """A short text file without the blanks around it."""
        return self.raw(name, limit).decode("utf-8", "replace").strip()

    def open(self, name: str) -> Part:
        """A file as its family reads it. Raises Unreadable, its problem led by the file's name; OSError."""
        known = self._parts.get(name)
        if known is not None:
            return known
        source = self.source(name)
        if not source.size:
            raise Unfinished(f"{name} is empty")
        try:
            family = self._opener(source)
            family.prove()
            part = self._parts[name] = Part(family, family.read())
        except (Unfinished, Damaged, TooLarge) as error:
            kind = Unfinished if isinstance(error, Unfinished) else Damaged if isinstance(error, Damaged) else TooLarge
            raise kind(f"{name}: {error.problem}") from None
        return part

    def inside(self, name: str, offset: int, length: int) -> Family:
        """What reads the file of its own that lies in a slice of a file, not proved yet."""
        return self._opener(Slice(self.source(name), offset, length))

    def print_of(self, name: str) -> bytes:
        """What changes with a file's content: all of a small one, its family's fingerprint, else samples of it."""
        if name in self._parts:
            return self._parts[name].content.fingerprint.encode("utf-8", "replace")
        source = self.source(name)
        if source.size <= _WHOLE_BYTES:
            return source.read(0, source.size)
        return b"".join([source.size.to_bytes(8, "little"), *samples(source, [(0, source.size)])])

    def beside(self, name: str) -> Folder:
        """A directory next to this one, to be closed by itself. Raises OSError, TooLarge when it cannot be listed."""
        return Folder(os.path.join(os.path.dirname(self.path), name), self._opener)

    def close(self) -> None:
        """Closes all its files."""
        for source in self._sources.values():
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _slashes(name: str) -> Iterator[int]:
    return (index for index, letter in enumerate(name) if letter == "/")
