"""How a loop over a loader was left: by `break`, which ends its epoch, or by an exception, which does not."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, ClassVar

from ckpt.saving.capture.generators import capture_random


class Loop:
    """The loop that takes an iterator's batches.

    Python closes an iterator alike when its loop is left by `break` and by an exception, and before a `with` or an
    `except` around the loop gets the exception. So the instruction is kept at which that was done, and looked for in
    the exception that is being handled when somebody asks, and in those that it came from. An exception that was
    swallowed, as `contextlib.suppress` does, cannot be told from a `break`.
    """

    _over: ClassVar[int] = 0
    """Loops of this process that came to their end."""
    _gave_nothing: ClassVar[int] = 0
    """Those of them that had no batch."""

    def __init__(self) -> None:
        self._over_before, self._gave_nothing_before = Loop._over, Loop._gave_nothing
        self.batches = 0
        """How many it had."""
        self.has_batch = False
        """Whether a batch is out of which nobody knows yet how the loop goes on."""
        self.is_closed = False
        """Whether it was left by a `close`, as by somebody who knows that there is more."""
        self.random_when_left: dict[str, Any] | None = None
        """Random states of Python, NumPy and torch at that moment; None for a loop that was not left."""
        self._left_at: set[tuple[CodeType, int]] = set()
        self._thread = 0

    def takes(self) -> None:
        """It has a batch."""
        self.has_batch = True
        self.batches += 1

    def is_over(self) -> None:
        """It is asked for more, and there is none."""
        Loop._over += 1
        if not self.batches:
            Loop._gave_nothing += 1

    @property
    def saw_another_end(self) -> bool:
        """Whether another loop came to its end since this one's iterator was made."""
        return Loop._over != self._over_before

    @property
    def saw_another_give_nothing(self) -> bool:
        """Whether another loop was over without a batch since this one's iterator was made."""
        return Loop._gave_nothing != self._gave_nothing_before

    def leave(self, frame: FrameType | None) -> None:
        """Notes that the loop was left before its end; `frame` is what closed the iterator.

        Nothing is noted where no loop is left: the interpreter ends.
        """
        self.has_batch = False
        if frame is None or sys.is_finalizing():
            return
        self._thread = threading.get_ident()
        following: FrameType | None = frame
        while following is not None:
            self._left_at.add((following.f_code, following.f_lasti))
            # A generator in between, such as that of a progress bar, is closed by the loop that it feeds.
            following = following.f_back if following.f_code.co_flags & inspect.CO_GENERATOR else None
        self.random_when_left = capture_random()

    @property
    def ended(self) -> bool:
        """Whether it was left, and not by the exception that is being handled."""
        return bool(self._left_at) and not any(map(self._left_by, _handled(self._thread)))

    def _left_by(self, error: BaseException) -> bool:
        trace = error.__traceback__
        while trace is not None:
            if (trace.tb_frame.f_code, trace.tb_lasti) in self._left_at:
                return True
            trace = trace.tb_next
        return False


def _handled(thread: int) -> Iterator[BaseException]:
    """The exception that a thread handles, those that it was raised from, and those that it is made of."""
    if thread == threading.get_ident():
        found: object = sys.exc_info()[1]
    else:
        found = sys._current_exceptions().get(thread)
        # Until Python 3.12 it is what sys.exc_info() returns.
        found = found[1] if isinstance(found, tuple) else found
    waiting, seen = [found], set()
    while waiting:
        error = waiting.pop()
        if not isinstance(error, BaseException) or id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        waiting += [error.__context__, error.__cause__, *getattr(error, "exceptions", ())]
