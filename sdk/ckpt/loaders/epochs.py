"""What a loader and a schedule have in common: epochs, one behind the other, each with an iterator of its own."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from ckpt.loaders.iteration import Batch, Iteration
from ckpt.loaders.leaving import Loop
from ckpt.saving.capture.generators import capture_random

log = logging.getLogger("ckpt.saving")

UnderWay = TypeVar("UnderWay")


class Epochs(ABC, Generic[Batch, UnderWay]):
    """Epochs of batches, of which at most one is under way."""

    _noun: ClassVar[str]
    """What it is called where something is told of it."""

    def __init__(self) -> None:
        self._epoch = 0
        self._under_way: UnderWay | None = None
        """The epoch that an iterator is under way in."""
        self._loop = Loop()
        """The loop over it, or over the one before."""
        self._goes_on = False
        """Whether the epoch under way is one that was loaded."""
        self._loads = 0
        self._unasked: Loop | None = None
        """A loop that was left before it asked for the rest of an epoch that was loaded."""
        self.generators_at_start: dict[str, Any] | None = None
        """Random states of Python, NumPy and torch when the epoch under way, or the last one, began; None before."""
        self._generators_at_end: dict[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that is under way or next; the first is 0."""
        self._settle()
        return self._epoch

    @property
    @abstractmethod
    def batch_idx(self) -> int:
        """Batches of the epoch under way that were taken; 0 between epochs."""

    @property
    def generators_at_end(self) -> dict[str, Any] | None:
        """Random states of Python, NumPy and torch when the last epoch was over; None before one was."""
        self._settle()
        return self._generators_at_end

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch, or the rest of one whose state was loaded; it begins when the first is asked for."""
        return Iteration(self._open, self._take, partial(self._left_unasked, self._loads) if self._is_loaded else None)

    @property
    @abstractmethod
    def _is_loaded(self) -> bool:
        """Whether an epoch was loaded that nobody went on with so far."""

    @abstractmethod
    def _end_loaded(self) -> None:
        """The epoch that was loaded is over."""

    @abstractmethod
    def _begin(self) -> Any:
        """Begins the next epoch, or goes on with one; what `_take` needs, or None where nothing is left of it."""

    @abstractmethod
    def _take(self, run: Any) -> Batch:
        """The next batch; END when the epoch is over, or another took its place."""

    @abstractmethod
    def _end(self, under_way: UnderWay) -> None:
        """The epoch is over, unless another has taken its place."""

    def _open(self, loop: Loop) -> Any:
        """Begins what a loop goes over."""
        self._settle()
        self._end_other()
        self._loop, self._goes_on = loop, self._is_loaded
        return self._begin()

    def _forget_loops(self) -> None:
        """Another epoch is next, which no loop so far has to do with."""
        self._loads += 1
        self._unasked = None

    def _left_unasked(self, loads: int, loop: Loop) -> None:
        """Notes a loop that `zip` or its like did not come to, because a loader before it had nothing left: what it
        would have left in a training that went on is over. Any other goes on when it is asked for.
        """
        if loads == self._loads and self._is_loaded and loop.saw_another_give_nothing:
            self._unasked = loop

    def _end_other(self) -> None:
        """Ends the epoch of another iterator, with a warning where the loop over that goes on."""
        if self._under_way is None:
            return
        nested = self._loop.has_batch
        log.log(
            logging.WARNING if nested else logging.DEBUG,
            "the %s's epoch %d is left at batch %d: another iterator of the same %s begins%s",
            *(self._noun, self._epoch, self.batch_idx, self._noun),
            f"; give each loop a {self._noun} of its own" if nested else "",
        )
        self._end(self._under_way)

    def _settle(self) -> None:
        """Ends an epoch whose loop was left by `break`; at an exception it is still under way."""
        if self._under_way is not None and self._loop.ended:
            self._warn_of_a_look()
            self._end(self._under_way)
        loop = self._unasked
        if loop is not None and loop.ended:
            self._unasked = None
            if self._is_loaded:
                self._loop = loop
                self._end_loaded()

    def _warn_of_a_look(self) -> None:
        """Where the rest of an epoch was left at its first batch by itself, and not because another loader is over."""
        loop = self._loop
        if self._goes_on and loop.batches == 1 and not (loop.is_closed or loop.saw_another_end):
            log.warning(
                "the %s's epoch %d was gone on with behind a resume and left at its first batch: the rest of it is not "
                "trained on; to look at a batch, take one from the data set and not from next(iter(%s))",
                *(self._noun, self._epoch, self._noun),
            )

    def _advance(self) -> None:
        """The epoch is over, and the one behind it is next."""
        self._generators_at_end = self._loop.random_when_left or capture_random()
        self._under_way = None
        self._epoch += 1
