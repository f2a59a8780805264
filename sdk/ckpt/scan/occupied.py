"""What files take on their disk, and what is free again once some of their names are gone. Pure.

A hole in a file is no loss: of a file counts what lies on the disk, never more than its size. What copies share by
reflink cannot be seen and counts for each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

_BLOCK = 512  # what st_blocks counts, whatever a file system's own blocks are


def on_disk(info: os.stat_result) -> int:
    """The bytes of a file that lie on its disk; a hole takes none, and the rest of its last block is not counted."""
    return min(info.st_size, info.st_blocks * _BLOCK)


def unique(names: Iterable[os.stat_result]) -> int:
    """What is free again when all these names are gone; each stands for one name of a regular file.

    A file that has a name elsewhere, and so more hard links than were given, stays where it is.
    """
    seen: dict[tuple[int, int], int] = {}
    files: dict[tuple[int, int], os.stat_result] = {}
    for info in names:
        inode = info.st_dev, info.st_ino
        seen[inode] = seen.get(inode, 0) + 1
        files[inode] = info
    return sum(on_disk(info) for inode, info in files.items() if seen[inode] >= info.st_nlink)


def touched(found: Iterable[os.stat_result]) -> float:
    """When anything of this was written, renamed, linked or copied last, in Unix seconds; 0 of nothing."""
    return max((max(info.st_mtime, info.st_ctime) for info in found), default=0.0)
