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


@dataclass(frozen=True, slots=True)
class Sample:
    """What was free at one moment of a clock that does not jump."""

    at: float
    free: int


def room_at(path: str) -> Room | None:
    """The disk that a path lies on; None when it cannot be asked."""
    try:
        device, info = os.stat(path).st_dev, os.statvfs(path)
    except OSError:
        return None
    return Room(device, info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize)


class Samples:
    """Free space by device. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[int, deque[Sample]] = {}

    def take(self, rooms: Iterable[Room], now: float) -> None:
        """Remembers what is free now, at most every EVERY_S seconds; `now` is of a clock that does not jump."""
        with self._lock:
            for room in rooms:
                kept = self._taken.setdefault(room.device, deque())
                if not kept or now - kept[-1].at >= EVERY_S:
                    kept.append(Sample(now, room.free))
            for device in list(self._taken):
                kept = self._taken[device]
                while kept and kept[0].at < now - KEPT_S:
                    kept.popleft()
                if not kept:
                    del self._taken[device]

    def of(self, device: int) -> tuple[Sample, ...]:
        """The samples of one disk, oldest first."""
        with self._lock:
            return tuple(self._taken.get(device, ()))
