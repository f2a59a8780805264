"""Whose turn it is to save, and how to wait for saves, also where a signal handler runs in the midst of either.

Python runs the handlers of signals and the finalizers of objects between any two instructions of a thread. One that
saves while its own thread does can neither go on nor wait for itself, so it is told at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ckpt.exceptions import SaveError

T = TypeVar("T")

_LOOK_AGAIN_S = 0.2
"""A handler that waits between the look and the wait of its own thread takes the word that both wait for."""


class Turns:
    """Of the threads that save in one run, one at a time does."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        """Held for a moment only. Who waits for it frees it, even when a handler waits that ran while it was held."""
        self.alone = threading.RLock()
        """Held by the thread that saves, or that learns of what was saved."""
        self._owner: int | None = None
        self._hands_over: int | None = None

    @property
    def is_within(self) -> bool:
        """Whether this very thread is in the midst of a save."""
        return self._owner == threading.get_ident()

    def refuse_within(self) -> None:
        """Raises SaveError in the midst of a save."""
        if self.is_within:
            raise _refusal()

    def take(self, act: Callable[[], T]) -> T:
        """Acts when no other thread does. Raises SaveError in the midst of a save."""
        with self.alone:
            self.refuse_within()
            try:
                self._owner = threading.get_ident()
                return act()
            finally:
                self._owner = None

    def hand_over(self, act: Callable[[], T]) -> T:
        """Acts with what other threads need to go on: until it returns, no handler in this one can wait for them."""
        try:
            self._hands_over = threading.get_ident()
            return act()
        finally:
            self._hands_over = None

    def wait_for(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Waits until something has changed so that it is ready, and says whether it is.

        Raises SaveError where that would be for ever.
        """
        if self._hands_over == threading.get_ident() and not ready():
            raise _refusal()
        until = None if timeout is None else time.monotonic() + timeout
        with self.changed:
            while not ready():
                left = _LOOK_AGAIN_S if until is None else min(_LOOK_AGAIN_S, until - time.monotonic())
                if left <= 0:
                    return False
                self.changed.wait(left)
        return True

    def notify(self) -> None:
        """Something has changed."""
        with self.changed:
            self.changed.notify_all()


def _refusal() -> SaveError:
    return SaveError(
        "a save is under way in this thread, and a handler that runs in the midst of it asks for more",
        hint="note the signal and act after the step, or name it in save_on_signals",
    )
