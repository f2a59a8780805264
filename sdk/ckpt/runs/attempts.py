"""How the attempts of this process end: a run that nobody closed is closed when the interpreter exits.

An exit through an unhandled exception is a failure. A killed process writes nothing, and its attempt has no ending.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from types import TracebackType
from typing import Literal, Protocol

log = logging.getLogger("ckpt.runs")

Ending = Literal["finished", "failed"]


class Closable(Protocol):
    """What is closed at exit."""

    def close(self, ending: Ending = ...) -> None:
        """Ends the attempt; may be called twice."""


class _Exit:
    """The attempts of this process that are open, and whether an exception is ending it."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[Closable, int]] = {}
        self._failed = False
        self._hooked = False

    def watch(self, attempt: Closable) -> None:
        """Closes the attempt at exit, in this process only: a forked child must not end its parent's run."""
        self._open[id(attempt)] = (attempt, os.getpid())
        if not self._hooked:
            self._hooked = True
            atexit.register(self._close_all)
            self._previous = sys.excepthook
            sys.excepthook = self._on_exception

    def forget(self, attempt: Closable) -> None:
        """The attempt has ended by itself."""
        self._open.pop(id(attempt), None)

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._failed = True
        self._previous(kind, error, trace)

    def _close_all(self) -> None:
        for attempt, pid in list(self._open.values()):
            if pid == os.getpid():
                try:
                    attempt.close("failed" if self._failed else "finished")
                except Exception as error:  # noqa: BLE001
                    log.error("%s", error)


at_exit = _Exit()


def ending_of(error: BaseException | None) -> Ending:
    """How a `with` block ended: a clean `sys.exit()` in it is no failure."""
    clean = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
    return "finished" if clean else "failed"
