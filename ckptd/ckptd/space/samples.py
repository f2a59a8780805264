"""Free space of disks over the last hour, each disk once, whatever is watched on it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

KEPT_S = 3600.0  # how far back free space is remembered
EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Room:
    """A disk now, in bytes, as this user finds it."""

    device: int
    free: int
    total: int
    file_system: int = 0
    """Its own number, as the system knows it: another disk may get the device of one that is gone."""

    @property
    def identity(self) -> tuple[int, int]:
        """What tells it from every other."""
        return self.device, self.file_system


@dataclass(frozen=True, slots=True)
class Sample:
    """What was free at one moment of a clock that does not jump."""

    at: float
    free: int


def room_at(path: str) -> Room | None:
    """The disk that a path lies on; None when it cannot be asked, or does not say how large it is."""
    try:
        device, info = os.stat(path).st_dev, os.statvfs(path)
    except OSError:
        return None
    if not info.f_blocks:
        # Some file systems answer with zeros: that they tell nothing is not that they are full.
        return None
    return Room(device, info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize, info.f_fsid)


class Samples:
    """Free space by disk. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[tuple[int, int], deque[Sample]] = {}

    def take(self, rooms: Iterable[Room], now: float) -> None:
        """Remembers what is free now, at most every EVERY_S seconds; `now` is of a clock that does not jump."""
        with self._lock:
            for room in rooms:
                kept = self._taken.setdefault(room.identity, deque())
                if not kept or now - kept[-1].at >= EVERY_S:
                    kept.append(Sample(now, room.free))
            for identity in list(self._taken):
                kept = self._taken[identity]
                while kept and kept[0].at < now - KEPT_S:
                    kept.popleft()
                if not kept:
                    del self._taken[identity]

    def of(self, room: Room) -> tuple[Sample, ...]:
        """The samples of one disk, oldest first."""
        with self._lock:
            return tuple(self._taken.get(room.identity, ()))
