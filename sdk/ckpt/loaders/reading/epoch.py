"""One epoch under way: the tasks that the inner DataLoader sends, and how far the training took their answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ckpt.loaders.order.own import Order, Pending
from ckpt.loaders.reading.readers import Readers
from ckpt.loaders.reading.serving import Start, Task, Told
from ckpt.loaders.seeding import derived
from ckpt.runs.rank import rank


class SampleEpoch:
    """An epoch of a map-style data set."""

    def __init__(
        self, order: Order, batches: Iterator[Any], taken: int, *, seed: int, epoch: int, readers: Readers | None
    ) -> None:
        self._order = order
        self._pending = Pending(batches, taken)
        self._seed = seed
        self._epoch = epoch
        self._first = taken
        self.readers = readers
        self.taken = taken
        """Batches that were taken, with those that could not be read and were passed over."""

    @property
    def has_given(self) -> bool:
        """Whether it gave a batch since it was begun or gone on with."""
        return self.taken > self._first

    def told(self) -> dict[str, Any]:
        """What of a position changes with every batch, all as of one moment."""
        taken = self.taken
        waiting = self._pending.after(taken)
        return {
            "batch_idx": taken,
            "exhausted": self._pending.ended and not waiting,
            "sampler_state": self._order.drawn(waiting),
            "prefetched": len(waiting),
        }

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
            yield Task(index, derived(base, number), start, number=number)
            number += 1

    def took(self, told: Told | None) -> bool:
        """Notes an answer; whether there is a batch in it."""
        if told is not None and self.readers is not None and not self.readers.took(told):
            return False
        # What was asked for before and did not come could not be read.
        number = self._pending.last if told is None or told.number is None else told.number
        # In this order: whoever asks in between finds what is taken among the waiting, and leaves it out.
        self.taken = number + 1
        self._pending.drop(self.taken)
        return True


class StreamEpoch:
    """An epoch of an iterable data set."""

    def __init__(self, taken: int, readers: Readers) -> None:
        self.readers = readers
        self._first = taken
        self.taken = taken

    @property
    def has_given(self) -> bool:
        """Whether it gave a batch since it was begun or gone on with."""
        return self.taken > self._first

    @property
    def exhausted(self) -> bool:
        """Whether every reader is known to be at its end."""
        return self.readers.all_exhausted

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
