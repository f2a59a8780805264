"""The iterator that a loader hands out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from ckpt.loaders.reading.epoch import SampleEpoch, StreamEpoch


class Begun(NamedTuple):
    """An epoch that is under way."""

    epoch: SampleEpoch | StreamEpoch
    answers: Iterator[Any]
    """What the inner DataLoader gives: batches, or batches with what a reader tells."""
    tells: bool


class Iteration(Iterator[Any]):
    """The batches of an epoch, which begins when the first is asked for.

    An error at one batch does not end it, as it does not end torch's: what is asked for next is the batch behind it.
    """

    def __init__(
        self,
        begin: Callable[[Iteration], Begun | None],
        end: Callable[[SampleEpoch | StreamEpoch], None],
        leave: Callable[[SampleEpoch | StreamEpoch, FrameType | None], None],
    ) -> None:
        self._begin = begin
        self._end = end
        self._leave = leave
        self._begun: Begun | None = None
        self._is_over = False
        self._gave = False
        """Whether a batch is out of which nobody knows yet how the loop over it goes on."""

    @property
    def has_loop(self) -> bool:
        """Whether a batch is out, so that a loop may be in its midst."""
        return self._gave

    def __next__(self) -> Any:
        self._gave = False
        begun = self._begun
        if begun is None and not self._is_over:
            begun = self._begun = self._begin(self)
        if begun is None:
            self._is_over = True
            raise StopIteration
        epoch, answers, tells = begun
        # An epoch that was given up is not asked for more, which would draw from the training's generators.
        while (answer := _END if epoch.given_up else next(answers, _END)) is not _END and not epoch.given_up:
            batch, told = answer if tells else (answer, None)
            if epoch.took(told):
                self._gave = True
                return batch
        self._end(epoch)
        self._is_over, self._begun = True, None
        raise StopIteration

    def close(self) -> None:
        """Leaves the loop, as a generator's `close` does."""
        self._close(sys._getframe().f_back)

    def __del__(self) -> None:
        if self._gave:
            self._close(sys._getframe().f_back)

    def _close(self, frame: FrameType | None) -> None:
        begun, self._begun, self._is_over = self._begun, None, True
        if begun is not None and self._gave and not begun.epoch.given_up:
            self._gave = False
            self._leave(begun.epoch, frame)


_END: Any = object()
