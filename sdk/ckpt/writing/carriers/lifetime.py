"""What the end of an interpreter, and the birth of a child by fork, mean to carriers."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from typing import Protocol


class Living(Protocol):
    """A carrier that has threads or processes."""

    def close(self, timeout_s: float | None = None) -> None:
        """Waits for what was submitted and ends."""

    def forget(self) -> None:
        """Has no thread, process or job any more, without a word to those that its parent has."""


_living: weakref.WeakSet[Living] = weakref.WeakSet()
_hooked = False


def watch(carrier: Living) -> None:
    """Closes a carrier before the interpreter ends, however long that takes; empties its copy in forked children."""
    global _hooked
    _living.add(carrier)
    if not _hooked:
        _hooked = True
        atexit.register(_close_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_all)


def _close_all() -> None:
    for carrier in list(_living):
        with contextlib.suppress(TimeoutError):
            carrier.close()


def _forget_all() -> None:
    for carrier in list(_living):
        carrier.forget()
