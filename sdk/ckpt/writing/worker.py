"""A thread that makes one call after the other, for callers whom an interrupt may stop between any two steps.

Waits are for plain locks: conditions and events are left in disorder by an interrupt, and an interrupted join takes a
thread for ended that is not.
"""

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

    def __init__(self, name: str) -> None:
        """`name` is the thread's, which does not keep an interpreter from ending."""
        self._name = name
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()  # an interrupt's handler may come here too
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
        """Waits until all calls have been made that were given; whether they have."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        if not self._is_idle():
            mark = _Mark()
            self.give(mark)
            if not mark.wait(timeout_s):
                return False
        thread = self._thread
        if thread is not None and not self.is_this_thread:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))  # nothing depends on this
        return True

    def end(self) -> None:
        """Waits likewise, also when interrupted, which is raised then: what the calls work on may go away behind it."""
        interrupt: BaseException | None = None
        mark = _Mark()
        if self._is_idle():
            mark()
        else:
            self._calls.append(mark)
        while not mark.reached:
            try:
                self._begin()
                mark.wait()
            except BaseException as error:  # noqa: BLE001
                interrupt = error
        if interrupt is not None:
            raise interrupt
        self.wait()

    def _is_idle(self) -> bool:
        return not self._calls and not self._claimed  # in this order: a call is claimed before it is taken

    def _begin(self) -> None:
        with self._lock:
            if self._claimed or not self._calls:
                return
        try:
            threading.Thread(target=self._work, args=(True,), name=self._name, daemon=True).start()
        except RuntimeError:
            self._work(False)

    def _work(self, is_thread: bool) -> None:
        """Makes the calls that wait, unless somebody else does."""
        mine = False
        try:
            with self._lock:
                if self._claimed:
                    return
                self._claimed = mine = True
                self._thread = threading.current_thread() if is_thread else None
            while True:
                with self._lock:
                    if not self._calls:
                        self._claimed = mine = False
                        return
                    call = self._calls.popleft()
                try:
                    call()
                except BaseException:
                    if not is_thread:
                        raise
                    log.exception("a call of %s failed", self._name)
                finally:
                    del call  # before anybody is told: it may hold memory that is to be given back
        finally:
            if mine:
                self._claimed = False


class _Mark:
    """A call that says when its turn has come."""

    def __init__(self) -> None:
        self.reached = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self) -> None:
        self.reached = True
        self._lock.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until then; whether it has come. For one to wait at a time."""
        self._lock.acquire(timeout=-1 if timeout_s is None else timeout_s)
        return self.reached
