"""The time by which things are due: a clock that does not jump forwards when somebody sets the wall clock."""

from __future__ import annotations

import time


class Clock:
    """Goes on from the moment it was made. A wall clock that is set ahead hurries nothing; one set back delays."""

    def __init__(self) -> None:
        self._wall = time.time()
        self._steady = steady()

    def now(self) -> float:
        """Unix seconds: the earlier of the wall clock and of what has passed since the start."""
        return min(time.time(), self._wall + steady() - self._steady)

    def latest(self) -> float:
        """Unix seconds: the later of the two. A wait from it is not over early when the clock is set right."""
        return max(time.time(), self._wall + steady() - self._steady)

    def ahead_s(self) -> float:
        """Seconds by which the wall clock runs ahead (negative: behind) of what has passed since the start."""
        return time.time() - (self._wall + steady() - self._steady)


def steady() -> float:
    """Seconds that go on while the machine sleeps, where the system counts them."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)
