"""One epoch under way: the tasks that the inner DataLoader sends, and how far the training took their answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ckpt.loaders.order.own import Order, Pending
from ckpt.loaders.reading.readers import Readers
from ckpt.loaders.reading.serving import Start, Task, Told
from ckpt.loaders.seeding import derived, rank


class SampleEpoch:
    """An epoch of a map-style data set."""

    def __init__(
        self, order: Order, batches: Iterator[Any], taken: int, *, seed: int, epoch: int, readers: Readers | None
    ) -> None:
        self._order = order
        self._pending = Pending(batches)
        self._seed = seed
        self._epoch = epoch
        self.readers = readers
        self.taken = taken

    @property
    def prefetched(self) -> int:
        """Batches that are drawn and not taken."""
        return len(self._pending.waiting)

    @property
    def exhausted(self) -> bool:
        """Whether the last batch is known to be taken."""
        return self._pending.ended and not self._pending.waiting

    def sampler_state(self) -> dict[str, Any] | None:
        """The state of the order, with what is drawn ahead."""
        return self._order.drawn(self._pending.waiting)

    def indices(self) -> Iterator[Any]:
        """The tasks for the training's own process."""
        return iter(self._pending)

    def tasks(self, workers: int) -> Iterator[Task]:
        """The tasks for workers."""
        number = self.taken
        base = f"{self._seed}/{rank()}/{self._epoch}/batch"
        if self.readers is None:
            starts: Iterator[tuple[Start | None, bool]] = itertools.chain(
                ((Start(self._epoch, 0, None), False) for _ in range(workers)), itertools.repeat((None, False))
            )
        else:
            starts = self.readers.starts()
        batches = iter(self._pending)
        for start, passes in starts:
            if passes:
                yield Task(start=start, passes=True)
                continue
            index = next(batches, _END)
            if index is _END:
                return
            yield Task(index, derived(base, number), start)
            number += 1

    def took(self, told: Told | None) -> bool:
        """Notes an answer; whether there is a batch in it."""
        if told is not None and self.readers is not None and not self.readers.took(told):
            return False
        self._pending.waiting.popleft()
        self.taken += 1
        return True


class StreamEpoch:
    """An epoch of an iterable data set."""

    prefetched = 0

    def __init__(self, taken: int, readers: Readers) -> None:
        self.readers = readers
        self.taken = taken

    @property
    def exhausted(self) -> bool:
        """Whether every reader is known to be at its end."""
        return self.readers.all_exhausted

    def sampler_state(self) -> None:
        """There is no sampler."""
        return None

    def tasks(self) -> Iterator[Task]:
        """Turns of the readers, until all are at their end."""
        for start, passes in self.readers.starts():
            if self.readers.all_exhausted:
                return
            yield Task(start=start, passes=passes)

    def took(self, told: Told | None) -> bool:
        """Notes an answer; whether there is a batch in it."""
        if told is None or not self.readers.took(told):
            return False
        self.taken += 1
        return True


_END = object()
