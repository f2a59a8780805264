"""A thread that sees to it that a signal which ends the process is not held back for longer than it may be.

It learns of a signal from the wake-up descriptor, to which the interpreter writes even while the main thread is inside
a long call and runs no handler.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable

log = logging.getLogger("ckpt.saving")

_ANSWERED, _CLOSE = 0, 127
"""Bytes on the descriptor that are no signals: the main thread's own words."""
_NOTED = 128
"""Added to the number of a signal whose handler has run."""


class Watchdog:
    """Counts the time of the first signal that is not answered, and calls `end(number)` when it is up.

    It does so at once for a signal that comes again more than `repeat_s` after the first, whose handler the main thread
    does not come to run. `concerns` says whether a number is one to be watched, `waiting` whether one is unanswered.
    """

    def __init__(
        self,
        within_s: float,
        repeat_s: float,
        *,
        concerns: Callable[[int], bool],
        waiting: Callable[[], bool],
        end: Callable[[int], None],
    ) -> None:
        self._within_s = within_s
        self._repeat_s = repeat_s
        self._concerns = concerns
        self._waiting = waiting
        self._end = end
        self._first: float | None = None
        self._number = 0
        self._delivering = False
        """Whether a signal was passed on whose handler has not run yet: what comes now is that one again."""
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def start(self) -> None:
        """Starts the thread; in the main thread only."""
        self._ends = reading, writing = socket.socketpair()
        reading.setblocking(True)
        writing.setblocking(False)
        others = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        if others != -1:
            # An event loop has it: then the handler alone tells of signals.
            signal.set_wakeup_fd(others)
        threading.Thread(target=self._watch, args=(reading,), name="ckpt-signals", daemon=True).start()

    def note(self, number: int) -> None:
        """The handler of a signal has run; called in it."""
        self._send(_NOTED + number)

    def answered(self) -> None:
        """A signal was answered; others may still wait."""
        self._send(_ANSWERED)

    def close(self) -> None:
        """Ends the thread; in any thread."""
        if self._ends is None:
            return
        self._send(_CLOSE)
        try:
            self._give_back(self._ends[1])
        except ValueError:
            return  # Only the main thread can take the descriptor away, and until then it stays open.
        self._ends[1].close()
        self._ends = None

    def leave(self) -> None:
        """In a forked child, where no such thread is."""
        if self._ends is None:
            return
        with contextlib.suppress(ValueError):
            self._give_back(self._ends[1])
        for end in self._ends:
            end.close()
        self._ends = None

    @staticmethod
    def _give_back(writing: socket.socket) -> None:
        present = signal.set_wakeup_fd(-1)
        if present not in (-1, writing.fileno()):
            signal.set_wakeup_fd(present)

    def _send(self, byte: int) -> None:
        if self._ends is not None:
            # A full buffer holds more signals than it takes to end a process.
            with contextlib.suppress(OSError):
                self._ends[1].send(bytes([byte]))

    def _watch(self, reading: socket.socket) -> None:
        with reading:
            while True:
                left = None if self._first is None else max(0.0, self._first + self._within_s - time.monotonic())
                if select.select([reading], [], [], left)[0]:
                    words = reading.recv(4096)
                    if not words or _CLOSE in words:
                        return
                    for word in words:
                        self._take(word)
                else:
                    log.warning(
                        "%s came %g s ago and nothing is saved: it is delivered now",
                        _name(self._number),
                        self._within_s,
                    )
                    self._deliver(self._number)

    def _take(self, word: int) -> None:
        number = word % _NOTED
        if word == _ANSWERED:
            self._delivering = False
            if not self._waiting():
                self._first = None
        elif self._delivering or (word < _NOTED and not self._concerns(number)):
            return
        elif self._first is None:
            self._first, self._number = time.monotonic(), number
            log.warning("%s came: the training is saved at its next step, within %g s", _name(number), self._within_s)
        elif word < _NOTED and time.monotonic() - self._first > self._repeat_s:
            log.warning("%s came again: it is delivered now", _name(number))
            self._deliver(number)

    def _deliver(self, number: int) -> None:
        self._first = None
        self._delivering = True
        self._end(number)


def _name(number: int) -> str:
    return signal.Signals(number).name


def kill(number: int) -> None:
    """Ends this process by a signal as if nobody handled it; from any thread."""
    if os.name == "posix":
        # Python lets the main thread alone change handlers, and that one may be inside a long call.
        ctypes.CDLL(None).signal(number, None)
    os.kill(os.getpid(), number)


def interrupt(number: int) -> None:
    """Has the handler of a signal run in the main thread, which may be waiting; from any thread."""
    if os.name == "posix":
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)
