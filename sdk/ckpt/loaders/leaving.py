"""How a loop over a loader was left: by `break`, which ends its epoch, or by an exception, which does not."""

from __future__ import annotations

import inspect
import sys
from types import CodeType


class Loop:
    """The loop that takes an iterator's batches.

    Python closes an iterator alike when its loop is left by `break` and by an exception, and before a `with` or an
    `except` around the loop gets the exception. So the instruction is kept at which that was done, and looked for in
    the exception that is being handled when somebody asks.
    """

    def __init__(self) -> None:
        self._left_at: set[tuple[CodeType, int]] = set()

    def leave(self) -> None:
        """Notes that the loop was left before its end; called by a method of the loader that its generator calls."""
        frame = sys._getframe(3)
        while frame is not None:
            self._left_at.add((frame.f_code, frame.f_lasti))
            # A generator in between, such as that of a progress bar, is closed by the loop that it feeds.
            following = frame.f_back
            if following is None or not frame.f_code.co_flags & inspect.CO_GENERATOR:
                return
            frame = following

    @property
    def is_left(self) -> bool:
        """Whether it was left before its end, whatever made it."""
        return bool(self._left_at)

    @property
    def ended(self) -> bool:
        """Whether it was left, and not by the exception that is being handled."""
        return self.is_left and not self._is_left_by_exception()

    def _is_left_by_exception(self) -> bool:
        error = sys.exc_info()[1]
        trace = None if error is None else error.__traceback__
        while trace is not None:
            if (trace.tb_frame.f_code, trace.tb_lasti) in self._left_at:
                return True
            trace = trace.tb_next
        return False
