"""The file systems that runs lie on: one that is not mounted took its runs out of sight, not away."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ckptd.roots.identity import mount_point


class Disks:
    """The mount points that runs were seen below, each with the number of its file system."""

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self.known: dict[str, int] = dict(known or {})

    def saw(self, paths: Iterable[str]) -> None:
        """Remembers on which file systems directories lie that are there now."""
        asked: dict[str, bool] = {}
        for point in {mount_point(os.path.dirname(path), asked) for path in paths} | {
            path for path in paths if os.path.ismount(path)
        }:
            if point != "/":
                try:
                    self.known[point] = os.statvfs(point).f_fsid
                except OSError:
                    continue

    def missing(self, path: str) -> str | None:
        """The mount point at or above a path whose file system is not there now; None when none is missing."""
        for point, file_system in self.known.items():
            if path != point and not path.startswith(point + "/"):
                continue
            try:
                if not os.path.ismount(point) or os.statvfs(point).f_fsid != file_system:
                    return point
            except OSError:
                return point
        return None

    def forget(self, directory: str) -> None:
        """Takes the file systems below a directory, and its own, as they are now."""
        prefix = directory.rstrip("/") + "/"
        for point in [p for p in self.known if p == directory or p.startswith(prefix)]:
            del self.known[point]
