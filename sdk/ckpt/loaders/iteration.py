"""The iterator over an epoch's batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, Generic, TypeVar

from ckpt.loaders.leaving import Loop

Batch = TypeVar("Batch")
Run = TypeVar("Run")

END: Final[Any] = object()
"""What is given in place of a batch when none is left."""


class Iteration(Iterator[Batch], Generic[Batch, Run]):
    """The batches of an epoch, which begins when the first is asked for.

    `begin` is told of the loop over it and gives what `take` takes the batches of, or None where none is left; `take`
    gives END behind the last. An error at one batch does not end it, as it does not end torch's: what is asked for
    next is the batch behind it. `unasked` is told of the loop where it was left before anything was asked for.
    """

    def __init__(
        self,
        begin: Callable[[Loop], Run | None],
        take: Callable[[Run], Batch],
        unasked: Callable[[Loop], None] | None = None,
    ) -> None:
        self._begin = begin
        self._take = take
        self._unasked = unasked
        self._loop = Loop()
        self._run: Run | None = None
        self._is_over = False

    def __next__(self) -> Batch:
        loop, run = self._loop, self._run
        loop.has_batch, self._unasked = False, None
        if run is None and not self._is_over:
            run = self._run = self._begin(loop)
        if run is not None and (batch := self._take(run)) is not END:
            loop.takes()
            return batch
        loop.is_over()
        self._run, self._is_over = None, True
        raise StopIteration

    def close(self) -> None:
        """Leaves the loop, as a generator's `close` does."""
        self._loop.is_closed = True
        self._close(sys._getframe().f_back)

    def __del__(self) -> None:
        self._close(sys._getframe().f_back)

    def _close(self, frame: FrameType | None) -> None:
        unasked, self._unasked = self._unasked, None
        if self._loop.has_batch:
            self._loop.leave(frame)
        elif unasked is not None:
            self._loop.leave(frame)
            unasked(self._loop)
        self._run, self._is_over = None, True
