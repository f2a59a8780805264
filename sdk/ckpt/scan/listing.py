"""What lies in a foreign run: one walk over its directories with the stat of everything that a record hangs on.

Opens no file and follows no symbolic link, except to learn what it leads to. A link in a checkpoint directory stands
for the file that it leads to.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Set
from dataclasses import dataclass, field

from ckpt.formats.directories import known
from ckpt.formats.directories.bounds import MAX_DEPTH, MAX_FILES
from ckpt.formats.directories.links import reached
from ckpt.formats.directories.names import TORCHTUNE_BESIDE, TORCHTUNE_RECIPE
from ckpt.formats.suffixes import may_tell
from ckpt.paths import is_cut, is_step, is_temporary
from ckpt.scan.excludes import is_excluded
from ckpt.scan.finding import is_part, may_be_checkpoint
from ckpt.scan.names import METADATA, SNAPSHOT, is_link, is_pointer, may_belong

_BESIDE = frozenset({SNAPSHOT, "result.json", "latest_checkpointed_iteration.txt", TORCHTUNE_RECIPE})
_NUMBER = re.compile(r"\d+")
_UNFINISHED = "-unfinished"
"""What follows a checkpoint's name in that of the file which says that it is being written or removed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file: its name relative to what it was found in, its path and its stat."""

    name: str
    path: str
    info: os.stat_result
    led_to: bool = False
    """Whether the name is a symbolic link, so that the file itself lies elsewhere."""

    @property
    def inode(self) -> tuple[int, int]:
        """What all names of the same file have in common."""
        return self.info.st_dev, self.info.st_ino


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link and the stat of what it leads to; None when it leads to nothing that can be reached."""

    name: str
    path: str
    info: os.stat_result | None


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that is one checkpoint, with all regular files in it."""

    name: str
    path: str
    info: os.stat_result
    members: tuple[Entry, ...]
    beside: tuple[Entry, ...] = ()
    """Files next to it that have a say in what it is."""

    @property
    def inode(self) -> tuple[int, int]:
        """The directory's own."""
        return self.info.st_dev, self.info.st_ino


@dataclass(slots=True)
class Listing:
    """A foreign run as it lies on disk. Names are relative to `directory`; everything is sorted by name."""

    directory: str
    files: list[Entry] = field(default_factory=list)
    """Files that may be checkpoints or belong to one."""
    directories: list[Directory] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    """Those that lead to what is listed, and those whose names say that they should."""
    steps: dict[tuple[int, int], str] = field(default_factory=dict)
    """Directories of single steps, by device and inode."""
    pointers: list[Entry] = field(default_factory=list)
    """Small files in which a trainer names checkpoints."""
    failed: list[tuple[str, OSError]] = field(default_factory=list)
    """Directories that exist and could not be listed."""


def listing(directory: str) -> Listing:
    """Lists a foreign run: its directory, the parts of it, and the checkpoint directories in both.

    Raises OSError when the directory itself cannot be listed.
    """
    found = Listing(directory)
    entries = _entries(directory)
    if _is_checkpoint(directory, entries):
        # A run of itself: nothing above it is watched.
        found.directories.append(_directory(".", directory, os.stat(directory), entries))
        return found
    pending = _take(found, "", entries)
    while pending:
        name, inside = pending.pop()
        if name == METADATA:
            found.files += _files(f"{name}/", [entry for entry in inside if may_belong(f"{name}/{entry.name}")])
        else:
            pending += _take(found, f"{name}/", inside)
    things = {
        *(file.inode for file in found.files),
        *(directory.inode for directory in found.directories),
        *found.steps,
    }
    found.links = [link for link in found.links if _may_name(link, things)]
    for kept in (found.files, found.directories, found.links, found.pointers):
        kept.sort(key=lambda entry: entry.name)
    return found


def _take(found: Listing, prefix: str, entries: list[os.DirEntry[str]]) -> list[tuple[str, list[os.DirEntry[str]]]]:
    """Adds what lies in one directory of a run; returns its subdirectories that are parts of the run, with what is in.

    Only the run's own directory has parts by their names; directories of single steps may lie in both.
    """
    parts: list[tuple[str, list[os.DirEntry[str]]]] = []
    empty: list[Directory] = []
    known_before = len(found.directories)
    beside = _beside(prefix, entries)
    for entry in entries:
        name = entry.name
        if entry.is_symlink():
            if is_link(name) or may_tell(name):
                found.links.append(Link(prefix + name, entry.path, _led_to(entry.path)))
        elif entry.is_dir(follow_symlinks=False):
            if is_excluded(name) or is_temporary(name):
                continue
            try:
                inside = _entries(entry.path)
                if not inside:
                    empty.append(Directory(prefix + name, entry.path, entry.stat(follow_symlinks=False), ()))
                elif _is_checkpoint(entry.path, inside):
                    info = entry.stat(follow_symlinks=False)
                    found.directories.append(
                        _directory(prefix + name, entry.path, info, inside, _next_to(name, beside))
                    )
                elif is_step(name) and not is_step(prefix[:-1]):
                    info = entry.stat(follow_symlinks=False)
                    found.steps[info.st_dev, info.st_ino] = prefix + name
                    parts.append((prefix + name, inside))
                elif (not prefix and (is_part(name) or name == METADATA)) or is_cut(prefix + name):
                    parts.append((prefix + name, inside))
            except FileNotFoundError:
                continue
            except OSError as error:
                found.failed.append((prefix + name, error))
    # A trainer that was stopped right after it made the directory of its next checkpoint leaves it empty.
    begun = {pattern for d in found.directories[known_before:] if (pattern := _pattern(d.name)) != d.name}
    found.directories += [directory for directory in empty if _pattern(directory.name) in begun]
    found.files += _files(prefix, [e for e in entries if may_be_checkpoint(e.name) or may_belong(e.name)])
    found.pointers += _files(prefix, [e for e in entries if is_pointer(e.name)])
    return parts


def _files(prefix: str, entries: list[os.DirEntry[str]]) -> list[Entry]:
    """The regular files among some entries."""
    files: list[Entry] = []
    for entry in entries:
        if entry.is_symlink():
            continue
        try:
            info = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(info.st_mode):
            files.append(Entry(prefix + entry.name, entry.path, info))
    return files


def _reached(prefix: str, entries: list[os.DirEntry[str]]) -> list[Entry]:
    """The regular files among some entries and those that links among them lead to. Raises OSError."""
    found = ((entry, reached(entry)) for entry in entries if not entry.is_dir(follow_symlinks=False))
    return [
        Entry(prefix + entry.name, entry.path, info, led_to=entry.is_symlink())
        for entry, info in found
        if info is not None and stat.S_ISREG(info.st_mode)
    ]


def _directory(
    name: str, path: str, info: os.stat_result, entries: list[os.DirEntry[str]], beside: tuple[Entry, ...] = ()
) -> Directory:
    """A checkpoint directory with its members, up to the number that a reader takes. Raises OSError."""
    members: list[Entry] = []
    pending = [("", entries, 0)]
    while pending and len(members) < MAX_FILES:
        prefix, inside, depth = pending.pop()
        members += _reached(prefix, inside)
        if depth < MAX_DEPTH:
            for entry in inside:
                if entry.is_dir(follow_symlinks=False):
                    try:
                        pending.append((f"{prefix}{entry.name}/", _entries(entry.path), depth + 1))
                    except FileNotFoundError:
                        continue
    members.sort(key=lambda member: member.name)
    return Directory(name, path, info, tuple(members), beside)


def _beside(prefix: str, entries: list[os.DirEntry[str]]) -> list[Entry]:
    """Files next to the checkpoint directories of one place that may have a say in what these are."""
    found = _files(prefix, [e for e in entries if e.name in _BESIDE or e.name.endswith(_UNFINISHED)])
    for entry in entries:
        if entry.name == TORCHTUNE_BESIDE and entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(OSError):  # said of the directory itself
                found += _files(f"{prefix}{entry.name}/", [e for e in _entries(entry.path) if e.name in _BESIDE])
    return found


def _next_to(name: str, beside: list[Entry]) -> tuple[Entry, ...]:
    """Those files beside the checkpoint directories of one place that may speak of the one with a name."""
    markers = {name + _UNFINISHED, name.removesuffix("-EMA") + _UNFINISHED}
    return tuple(e for e in beside if (last := os.path.basename(e.name)) in _BESIDE or last in markers)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as listed:
        return list(listed)


def _is_checkpoint(path: str, entries: list[os.DirEntry[str]]) -> bool:
    return known.recognise_listed(os.path.basename(path), entries) is not None


def _pattern(name: str) -> str:
    """What the names of the checkpoints of one series have in common."""
    return _NUMBER.sub("#", name)


def _may_name(link: Link, things: Set[tuple[int, int]]) -> bool:
    """Whether a link is, or may have been, another name of something with one of these devices and inodes."""
    if is_link(os.path.basename(link.name)):
        return True
    return link.info is not None and (link.info.st_dev, link.info.st_ino) in things


def _led_to(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
