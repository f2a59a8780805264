"""Calls that release the interpreter, run beside each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence


def side_by_side(calls: Sequence[Callable[[], None]]) -> None:
    """Runs all calls and waits for all, the first in this thread; where no thread can be had, the others too.

    The calls must not raise. An interrupt is raised when all have ended: what they work on may be gone behind it.
    """
    ends: list[threading.Event] = []
    left = list(calls[1:])
    try:
        while left:
            ended = threading.Event()
            helper = threading.Thread(target=_run, args=(left[-1], ended), name="ckpt-memory", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # too many threads, or the interpreter is about to end
                break
            ends.append(ended)
            left.pop()
        for call in (*calls[:1], *left):
            call()
    finally:
        _wait(ends)


def _run(call: Callable[[], None], ended: threading.Event) -> None:
    try:
        call()
    finally:
        ended.set()


def _wait(ends: Sequence[threading.Event]) -> None:
    """Not by joining: a join that is interrupted takes a thread for ended that is not."""
    try:
        for ended in ends:
            ended.wait()
    finally:
        if not all(ended.is_set() for ended in ends):
            _wait(ends)
