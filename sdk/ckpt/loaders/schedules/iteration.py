"""The iterator that a schedule hands out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class Iteration(Iterator[Any]):
    """The batches of an epoch, which begins when the first is asked for.

    An error at one batch does not end it: what is asked for next is the batch behind it. `run` stands for it in the
    schedule, which does not hold the iterator itself: that goes with the loop over it.
    """

    def __init__(
        self,
        begin: Callable[[object], None],
        take: Callable[[object], Any],
        leave: Callable[[object, FrameType | None], None],
    ) -> None:
        self._begin = begin
        self._take = take
        self._leave = leave
        self._run: object | None = None
        self._is_over = False
        self._gave = False
        """Whether a batch is out of which nobody knows yet how the loop over it goes on."""

    def __next__(self) -> Any:
        self._gave = False
        if self._is_over:
            raise StopIteration
        if self._run is None:
            run = object()
            self._begin(run)
            self._run = run
        taken = self._take(self._run)
        if taken is None:
            self._is_over = True
            raise StopIteration
        self._gave = True
        return taken

    def close(self) -> None:
        """Leaves the loop, as a generator's `close` does."""
        self._close(sys._getframe().f_back)

    def __del__(self) -> None:
        self._close(sys._getframe().f_back)

    def _close(self, frame: FrameType | None) -> None:
        gave, self._gave, self._is_over = self._gave, False, True
        if gave:
            self._leave(self._run, frame)
