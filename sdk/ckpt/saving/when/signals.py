"""Signals that ask for a save: noted when they come, answered at the next step, then handed on.

The handler only takes note, for it runs in the midst of anything. When the save is durable, SIGUSR1 and SIGUSR2 let the
training go on; the others go to the handler that was there before, so that exit status and the handlers of other tools
are as without us. When that takes too long, `watchdog` hands them on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from types import FrameType

from ckpt.saving.when.watchdog import Watchdog, interrupt, kill

log = logging.getLogger("ckpt.saving")

GO_ON = ("SIGUSR1", "SIGUSR2")
"""Signals after whose save the training goes on."""
REPEAT_S = 2.0
"""A signal that comes again within this time is the same request: launchers pass on what the whole group was sent."""


class SignalWatch:
    """What signals came to this process and wait for a save.

    Between `start` and `close` it is the handler of these signals. Whoever installs a handler later is left alone; when
    that one calls ours, it works as before. A forked child has the handlers that were there before.

    On a `silent` rank nothing is saved: what ends the process waits there until its time is up, because rank 0 cannot
    save in the midst of a step that the others have left.
    """

    def __init__(self, names: Sequence[str], within_s: float, *, silent: bool = False) -> None:
        self._names = tuple(names)
        self._within_s = within_s
        self._silent = silent
        self._before: dict[int, Callable[[int, FrameType | None], object] | int] = {}
        self._arrived: dict[int, float] = {}
        """What came and is not answered: its number, and when by the monotonic clock."""
        self._overdue: set[int] = set()
        """What is to be passed on as soon as its handler runs."""
        self._active = False
        self._told = False
        self._pid = os.getpid()
        self._watchdog = Watchdog(
            within_s,
            REPEAT_S,
            concerns=lambda number: _ends(number) and self._is_ours(number),
            waiting=lambda: any(map(_ends, self._arrived.copy())),
            end=self._pass_from_outside,
        )

    def start(self) -> None:
        """Becomes the handler; nothing happens when it is. Only the main thread can, others are warned of it."""
        if self._active or not self._names:
            return
        if threading.current_thread() is not threading.main_thread():
            if self._told:
                return
            self._told = True
            log.warning(
                "%s can be answered by the main thread only, and this training runs in another: nothing is saved on %s",
                ", ".join(self._names),
                "it" if len(self._names) == 1 else "them",
            )
            return
        self._active = True
        for name in self._names:
            number = getattr(signal, name, None)
            before = None if number is None else signal.getsignal(number)
            if number is None or before is None:
                why = "this platform has none" if number is None else "something outside Python handles it"
                log.warning("nothing is saved on %s: %s", name, why)
                continue
            self._before[number] = before
            signal.signal(number, self._on_signal)
        if any(_ends(number) for number in self._before):
            self._watchdog.start()
        _watches.add(self)

    @property
    def pending(self) -> str | None:
        """The name of a signal that waits for a save; None when none does."""
        if self._silent:
            return None
        numbers = sorted(self._arrived, key=_ends, reverse=True)
        return signal.Signals(numbers[0]).name if numbers else None

    @property
    def remaining_s(self) -> float:
        """How long the save for what is pending may still take, in seconds."""
        came = [at for number, at in self._arrived.copy().items() if _ends(number)]
        return max(0.0, self._within_s - (time.monotonic() - min(came))) if came else self._within_s

    def hand_on(self) -> None:
        """What came is answered: the handlers that were there before get it, which may end the process or raise.

        SIGUSR1 and SIGUSR2 stop here unless somebody else handles them too. What is left when a handler raises waits
        for the next time.
        """
        for number in sorted(self._arrived, key=_ends):
            if self._silent and _ends(number):
                continue
            self._arrived.pop(number, None)
            self._watchdog.answered()
            if threading.current_thread() is threading.main_thread():
                self._pass(number, sys._getframe())
            else:
                self._pass_from_outside(number)

    def close(self) -> None:
        """Gives the signals back and hands on what waits; may be called twice. Handlers that came later stay."""
        if not self._active or os.getpid() != self._pid:
            return
        self._active = False
        _watches.discard(self)
        self._give_back()
        self._watchdog.close()
        self._silent = False
        self.hand_on()

    def _give_back(self) -> None:
        for number, before in self._before.items():
            # Only the main thread may; from another one, ours stays and passes everything on.
            with contextlib.suppress(ValueError):
                if self._is_ours(number):
                    signal.signal(number, before)

    def _is_ours(self, number: int) -> bool:
        return number in self._before and signal.getsignal(number) == self._on_signal

    # In the main thread, between any two of its instructions: no logging and no locks

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        first = min((at for other, at in self._arrived.copy().items() if _ends(other)), default=now)
        insists = _ends(number) and now - first > REPEAT_S
        if not self._active or os.getpid() != self._pid or insists or number in self._overdue:
            self._overdue.discard(number)
            self._arrived.pop(number, None)
            self._watchdog.answered()
            self._pass(number, frame)
            return
        self._arrived.setdefault(number, now)
        if _ends(number):
            self._watchdog.note(number)

    def _pass(self, number: int, frame: FrameType | None) -> None:
        """To whom it would have gone without us."""
        before = self._before[number]
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL and _ends(number):
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _pass_from_outside(self, number: int) -> None:
        """The same from another thread than the main one."""
        before = self._before[number]
        if callable(before):
            self._overdue.add(number)
            interrupt(number)
        elif before == signal.SIG_DFL and _ends(number):
            kill(number)

    def _leave(self) -> None:
        """In a forked child: as if nothing had been installed."""
        self._active = False
        self._arrived.clear()
        self._give_back()
        self._watchdog.leave()


def _ends(number: int) -> bool:
    return signal.Signals(number).name not in GO_ON


_watches: weakref.WeakSet[SignalWatch] = weakref.WeakSet()
_masks = threading.local()


def _before_fork() -> None:
    # A signal to the child waits until it has its own handlers: until then it would be told to the parent's watchdog.
    watched = [number for watch in list(_watches) for number in watch._before]
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)


def _after_fork_in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _after_fork_in_child() -> None:
    for watch in list(_watches):
        watch._leave()
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
