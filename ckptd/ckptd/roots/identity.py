"""Which directory a path leads to: told by device and inode, and over a reboot, which gives devices new numbers, by
inode and file system.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ckpt.records import Record

_BESIDE = 10_000  # entries beside a vanished directory among which its new name is looked for


class Identity(Record, frozen=True, kw_only=True):
    """A directory as the system numbers it."""

    device: int
    inode: int
    file_system: int = 0
    """The file system's own number; 0 where it has none."""
    boot: str = ""
    """The start of the machine that the numbers were read in; "" where it cannot be told."""

    @classmethod
    def of(cls, path: str) -> Identity:
        """That of what stands at a path now. Raises OSError."""
        info = os.stat(path)
        return cls(device=info.st_dev, inode=info.st_ino, file_system=os.statvfs(path).f_fsid, boot=boot())

    @classmethod
    def parse(cls, raw: Any) -> Identity | None:
        """What `to_json` wrote; None for anything else."""
        if not isinstance(raw, Mapping):
            return None
        numbers = [raw.get(name) for name in ("device", "inode", "file_system")]
        if not all(type(number) is int for number in numbers) or not isinstance(raw.get("boot"), str):
            return None
        return cls(device=numbers[0], inode=numbers[1], file_system=numbers[2], boot=raw["boot"])  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"device": self.device, "inode": self.inode, "file_system": self.file_system, "boot": self.boot}

    def is_(self, other: Identity) -> bool | None:
        """Whether both are one directory; None when the numbers cannot tell, as after a reboot they may not."""
        if self.inode == other.inode and (
            self.device == other.device or (self.file_system != 0 and self.file_system == other.file_system)
        ):
            return True
        return False if self.boot and self.boot == other.boot else None


@cache
def boot() -> str:
    """The id of this start of the machine; "" where the system tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def renamed_to(path: str, known: Identity) -> str | None:
    """The directory beside a path that was known under it; None when there is none, or too much to look through."""
    parent = os.path.dirname(path)
    try:
        with os.scandir(parent) as listing:
            for number, entry in enumerate(listing):
                if number >= _BESIDE:
                    return None
                if entry.inode() != known.inode or entry.path == path:
                    continue
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode) and Identity.of(entry.path).is_(known):
                    return entry.path
    except OSError:
        return None
    return None
