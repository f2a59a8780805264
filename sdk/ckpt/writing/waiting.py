"""How long what a run's training removed has waited in its trash, by times that no wrong clock makes long.

What passes while this process trains is counted by a clock that nobody sets. What passed before it is told by the times
of saves and removals alone; between two of them at most half of what an entry has to wait is counted, so that one jump
of the wall clock never purges anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from ckpt.trash import TrashEntry


class Waiting:
    """What waits in one trash since a process trains."""

    def __init__(
        self, saved_at: Iterable[float], entries: Sequence[TrashEntry], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`saved_at` are the times of all known saves, `entries` what lies there now; `clock` does not jump."""
        self._clock = clock
        times = sorted({time.time(), *saved_at, *(entry.trashed_at for entry in entries)})
        self._since = {entry.id: clock() - _before(entry, times) for entry in entries}

    def due(self, entries: Sequence[TrashEntry]) -> list[TrashEntry]:
        """Those of what lies there now that have waited as long as they have to. What is new begins to wait."""
        now = self._clock()
        self._since = {entry.id: self._since.get(entry.id, now) for entry in entries}
        return [entry for entry in entries if now - self._since[entry.id] >= _has_to_wait(entry)]


def _before(entry: TrashEntry, times: Sequence[float]) -> float:
    """Seconds that an entry has waited certainly by the last of these times."""
    most = _has_to_wait(entry) / 2
    return sum(min(later - earlier, most) for earlier, later in pairwise(times) if earlier >= entry.trashed_at)


def _has_to_wait(entry: TrashEntry) -> float:
    return entry.purge_at - entry.trashed_at
