"""How long jobs of this process wait for room on a disk: less, once the training that asked is about to end."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Protocol


class Elsewhere(Protocol):
    """What has jobs performed in another process."""

    def cut(self, job: int, within_s: float, why: str) -> None:
        """See `Patience.cut`; a job that it does not have is passed over."""


class Patience:
    """Waits of jobs, by their numbers. Any thread may cut them short."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[int, tuple[float, str]] = {}
        self._elsewhere: weakref.WeakSet[Elsewhere] = weakref.WeakSet()

    def tell(self, other: Elsewhere) -> None:
        """Has another told of every wait that is cut, as long as it lives."""
        self._elsewhere.add(other)

    def cut(self, job: int, within_s: float, why: str) -> None:
        """A job that waits, now or later, waits no longer than so many seconds from now; an earlier end stays."""
        end = time.monotonic() + within_s
        with self._changed:
            if job not in self._ends or end < self._ends[job][0]:
                self._ends[job] = end, why
            self._changed.notify_all()
        for other in list(self._elsewhere):
            other.cut(job, within_s, why)

    def forget(self, job: int) -> None:
        """The job is done."""
        with self._changed:
            self._ends.pop(job, None)

    @contextlib.contextmanager
    def waiting(self, job: int, seconds: float) -> Iterator[Wait]:
        """The wait of a job, so many seconds unless it is cut. The job is done when it is left."""
        try:
            yield Wait(self, job, time.monotonic() + seconds)
        finally:
            self.forget(job)

    def _end(self, job: int, end: float) -> tuple[float, str | None]:
        """When a wait ends, and why before its time."""
        cut = self._ends.get(job)
        return cut if cut is not None and cut[0] < end else (end, None)


class Wait:
    """The wait of one job."""

    def __init__(self, patience: Patience, job: int, end: float) -> None:
        self._patience = patience
        self._job = job
        self._end = end

    @property
    def cut(self) -> str | None:
        """Why it ends before its time."""
        with self._patience._changed:
            return self._patience._end(self._job, self._end)[1]

    def pause(self, seconds: float) -> bool:
        """Waits so long, or until the wait has ended; False when it had ended before."""
        until = time.monotonic() + seconds
        with self._patience._changed:
            if self._left() <= 0:
                return False
            while (left := min(until - time.monotonic(), self._left())) > 0:
                self._patience._changed.wait(left)
        return True

    def _left(self) -> float:
        return self._patience._end(self._job, self._end)[0] - time.monotonic()


patience = Patience()
"""Of all jobs that this process performs."""
