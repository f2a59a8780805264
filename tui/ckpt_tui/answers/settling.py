"""Waits until what may still be being written has been left alone for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

Look = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Sighting:
    """How the files of a checkpoint looked, and the newest change among them, Unix seconds."""

    files: Look
    newest: float

    def age(self) -> float:
        """Seconds since the newest change; 0 where that lies ahead of this machine's clock."""
        return max(time.time() - self.newest, 0.0)

    def wait(self, settle_s: float) -> None:
        """Returns once nothing has been written for so many seconds, if nothing is written meanwhile."""
        time.sleep(max(settle_s - self.age(), 0.0))


def sighting(paths: Iterable[str]) -> Sighting:
    """How files, and all that lies below directories, look now; what is gone is left out."""
    seen: list[tuple[str, int, int, int]] = []
    for path in paths:
        _add(path, seen)
        for directory, _, names in os.walk(path):
            for name in names:
                _add(os.path.join(directory, name), seen)
    return Sighting(tuple(sorted(seen)), max((mtime for *_, mtime in seen), default=0) / 1e9)


def _add(path: str, seen: list[tuple[str, int, int, int]]) -> None:
    try:
        info = os.stat(path, follow_symlinks=False)
    except OSError:
        return
    seen.append((path, info.st_ino, info.st_size, info.st_mtime_ns))
