"""A thread that makes one call after the other, for callers whom an interrupt may stop between any two steps."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger("ckpt.writing")


class Worker:
    """Makes calls in their order, one at a time, on a thread that lives while there are any.

    A thread that was started is not relied on: who comes first claims the calls, and whoever waits for them starts
    another thread as long as none has. Where no thread can be had, such as at the interpreter's end, the caller works.
    """

    def __init__(self, name: str, *, daemon: bool = True) -> None:
        """`name` is the thread's. The interpreter does not end before a thread that is no daemon."""
        self._name = name
        self._daemon = daemon
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._claimed = False
        self._thread: threading.Thread | None = None

    @property
    def is_this_thread(self) -> bool:
        """Whether the worker's own thread asks."""
        return threading.current_thread() is self._thread

    def give(self, call: Callable[[], None]) -> None:
        """Has a call made. What it raises is logged, or raised here when this thread has to make it."""
        self._calls.append(call)
        self._begin()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until all calls have been made; whether they have."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        self._begin()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._claimed and not self._calls, timeout_s):
                return False
        # Nothing depends on this: a join that is interrupted takes a thread for ended that is not.
        if self._thread is not None and not self.is_this_thread:
            self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return True

    def end(self) -> None:
        """Waits likewise, also when interrupted, which is raised then: what the calls work on may go away behind it."""
        interrupt: BaseException | None = None
        while self._calls or self._claimed:  # in this order: a call is claimed before it is taken
            try:
                self.wait()
            except BaseException as error:  # noqa: BLE001
                interrupt = error
        if interrupt is not None:
            raise interrupt
        self.wait()

    def _begin(self) -> None:
        with self._changed:
            if self._claimed or not self._calls:
                return
        try:
            threading.Thread(target=self._work_on, name=self._name, daemon=self._daemon).start()
        except RuntimeError:
            self._work()

    def _work_on(self) -> None:
        """In a thread: until there is nothing left, whatever a call raises."""
        while self._calls:
            try:
                if not self._work(threading.current_thread()):
                    return
            except BaseException:
                log.exception("a call of %s failed", self._name)

    def _work(self, thread: threading.Thread | None = None) -> bool:
        """Makes the calls that wait; False when somebody else does. Raises what a call raises."""
        mine = False
        try:
            with self._changed:
                if self._claimed:
                    return False
                self._claimed = mine = True
                self._thread = thread
            while True:
                with self._changed:
                    if not self._calls:
                        self._claimed = False
                        self._changed.notify_all()
                        return True
                    call = self._calls.popleft()
                try:
                    call()
                finally:
                    del call  # before anybody is told: it may hold memory that is to be given back
        except BaseException:
            if mine:
                with self._changed:
                    self._claimed = False
                    self._changed.notify_all()
            raise
