"""What tells whether a file, or a directory with everything in it, is still what was seen."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

from ckpt.records import Record
from ckpt.trash.folder import Folder, opened

MOST_ENTRIES = 1_000_000
MOST_DEPTH = 64
"""Larger and deeper directories are not compared, and so never removed."""


class Stamp(Record, frozen=True, kw_only=True):
    """A file, or a directory with everything in it, at one moment. Equal stamps mean that nothing changed.

    Compared are names, types, devices and inodes; sizes and modification times of files; targets of links. A move
    within the file system changes none of them.
    """

    device: int
    inode: int
    bytes: int
    """Apparent size of all files in it together; links count as themselves."""
    entries: int
    digest: str


def stamp_of(path: str | Path) -> Stamp | None:
    """The stamp of what is at a path now, links not followed.

    None when nothing is there, or when it cannot be read, changes meanwhile, is beyond the bounds, or holds
    another file system.
    """
    whole = Path(os.path.abspath(path))
    try:
        with opened(whole.parent) as home:
            return stamp_at(home, whole.name)
    except OSError:
        return None


def stamp_at(home: Folder, name: str) -> Stamp:
    """The stamp of an entry of an open directory. Raises OSError: EFBIG beyond the bounds, EXDEV for a mount in it."""
    info = home.look(name)
    if info is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(home.path / name))
    seen = _Seen(info.st_dev)
    seen.add(home, name, info, depth=0)
    return Stamp(
        device=info.st_dev,
        inode=info.st_ino,
        bytes=seen.bytes,
        entries=seen.entries,
        digest=seen.digest.hexdigest(),
    )


class _Seen:
    def __init__(self, device: int) -> None:
        self.device = device
        self.digest = hashlib.blake2b(digest_size=16)
        self.bytes = 0
        self.entries = 0

    def add(self, home: Folder, name: str, info: os.stat_result, *, depth: int) -> None:
        self.entries += 1
        if self.entries > MOST_ENTRIES or depth > MOST_DEPTH:
            raise OSError(errno.EFBIG, "too many or too deep directories", str(home.path / name))
        if info.st_dev != self.device:
            raise OSError(errno.EXDEV, "another file system is mounted in it", str(home.path / name))
        is_directory = stat.S_ISDIR(info.st_mode)
        facts = [depth, stat.S_IFMT(info.st_mode), info.st_dev, info.st_ino]
        # Names tell a directory; its own time also changes with what came and went, and on some systems when it moves.
        if not is_directory:
            facts += [info.st_size, info.st_mtime_ns]
            self.bytes += info.st_size
        target = os.fsencode(home.target(name)) if stat.S_ISLNK(info.st_mode) else b""
        # The top one's own name is where it is, and not what it is.
        shown = os.fsencode(name) if depth else b""
        self.digest.update(b"\0".join((" ".join(map(str, facts)).encode(), shown, target, b"")))
        if is_directory:
            folder = home.below(name)
            try:
                for inner in folder.names():
                    found = folder.look(inner)
                    if found is None:
                        raise FileNotFoundError(errno.ENOENT, "it changes just now", str(folder.path / inner))
                    self.add(folder, inner, found, depth=depth + 1)
            finally:
                folder.close()
