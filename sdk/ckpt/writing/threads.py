"""Calls that release the interpreter, run beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ckpt.writing.worker import Worker


def side_by_side(calls: Sequence[Callable[[], None]]) -> None:
    """Runs all calls and waits for all, the first in this thread; where no thread can be had, the others too.

    The calls must not raise. An interrupt is raised when all have ended: what they work on may be gone behind it.
    """
    workers = [Worker("ckpt-memory") for _ in calls[1:]]
    try:
        for worker, call in zip(workers, calls[1:], strict=True):
            worker.give(call)
        for call in calls[:1]:
            call()
    finally:
        _end(workers)


def _end(workers: Sequence[Worker]) -> None:
    if workers:
        try:
            workers[0].end()
        finally:
            _end(workers[1:])
