"""The file systems that runs lie on: one that is not mounted took its runs out of sight, not away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping

from ckpt import mounts


class Disks:
    """The mount points that runs were seen below, each with the number of its file system."""

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self.known: dict[str, int] = dict(known or {})

    def saw(self, paths: Iterable[str]) -> None:
        """Remembers on which file systems directories lie that are there now."""
        is_mount = _mounted()
        points: dict[str, str] = {"": "/", "/": "/"}
        for path in paths:
            point = _at_or_above(path, is_mount, points)
            if point != "/":
                with contextlib.suppress(OSError):
                    self.known[point] = os.statvfs(point).f_fsid

    def missing(self, path: str) -> str | None:
        """The mount point at or above a path whose file system is not there now; None when none is missing."""
        points = [point for point in self.known if path == point or path.startswith(point + "/")]
        if not points:
            return None
        is_mount = _mounted()
        for point in points:
            try:
                if not is_mount(point) or os.statvfs(point).f_fsid != self.known[point]:
                    return point
            except OSError:
                return point
        return None

    def forget(self, directory: str) -> None:
        """Takes the file systems below a directory, and its own, as they are now."""
        prefix = directory.rstrip("/") + "/"
        for point in [p for p in self.known if p == directory or p.startswith(prefix)]:
            del self.known[point]


def _mounted() -> Callable[[str], bool]:
    """Tells whether something is mounted at a path now: from the table of mounts, else from what the path is."""
    points = mounts.mount_points(mounts.mount_table())
    return os.path.ismount if points is None else points.__contains__


def _at_or_above(path: str, is_mount: Callable[[str], bool], points: dict[str, str]) -> str:
    """The mount point that holds a path; `points` are those found so far, by directory."""
    passed = []
    while path not in points and not is_mount(path):
        passed.append(path)
        path = os.path.dirname(path)
    point = points.setdefault(path, path)
    points.update(dict.fromkeys(passed, point))
    return point
