"""What a training has under way beside itself, such as saves that are being written."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

log = logging.getLogger("ckpt.runs")


class Unfinished(Protocol):
    """One thing that goes on beside the training."""

    def wait(self) -> None:
        """Waits for it; what went wrong is told later."""

    def close(self) -> None:
        """Waits for it, and raises what went wrong if nobody was told; may be called twice."""


class UnderWay:
    """All of it: finished before the run is looked at, and before its attempt ends."""

    def __init__(self) -> None:
        self._parts: list[Unfinished] = []
        self._last: list[weakref.WeakMethod[Callable[[], None]]] = []

    def attach(self, part: Unfinished) -> None:
        """Adds something that goes on for as long as the run's handle lives."""
        self._parts.append(part)

    def afterwards(self, last: Callable[[], None]) -> None:
        """Has a method called whenever an attempt has ended and its lock is free; it may end the process.

        This does not keep its object alive.
        """
        self._last = [*(method for method in self._last if method() is not None), weakref.WeakMethod(last)]

    def __iter__(self) -> Iterator[Unfinished]:
        return iter(tuple(self._parts))

    def wait(self) -> None:
        """Waits for all."""
        for part in self:
            part.wait()

    def finish(self) -> None:
        """Waits for all, then raises the first failure that nobody was told of; others are logged."""
        failures: list[Exception] = []
        for part in self:
            try:
                part.close()
            except Exception as error:  # noqa: BLE001
                failures.append(error)
        for failure in failures[1:]:
            log.error("%s", failure)
        if failures:
            raise failures[0]

    def end(self) -> None:
        """The attempt has ended."""
        for method in self._last:
            last = method()
            if last is not None:
                last()
