"""What was read of files that have not changed since."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ckpt import formats
from ckpt.formats import Inspection

_Key = tuple[int, int, int, int]  # device, inode, size, mtime in ns


@dataclass
class Cache:
    """Inspections of files that have not changed since; tensor lists are not kept."""

    _known: dict[str, tuple[_Key, Inspection]] = field(default_factory=dict)

    def inspect(self, path: str, info: os.stat_result) -> Inspection:
        """The inspection of a file, from memory when device, inode, size and mtime are the same.

        Raises OSError when the file cannot be read.
        """
        key = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
        known = self._known.get(path)
        if known is not None and known[0] == key:
            return known[1]
        inspection: Inspection = formats.inspect(path).evolve(tensors=(), storages={})
        self._known[path] = (key, inspection)
        return inspection

    def forget(self, directory: Path) -> None:
        """Drops what is known below a directory."""
        prefix = str(directory).rstrip("/") + "/"
        for path in [p for p in self._known if p.startswith(prefix)]:
            del self._known[path]
