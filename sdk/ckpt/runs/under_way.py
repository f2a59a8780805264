"""What a training has under way beside itself, such as saves that are being written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from ckpt.exceptions import CkptError

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
        self._last: list[Callable[[], None]] = []

    def attach(self, part: Unfinished) -> None:
        """Adds something that goes on for as long as the run's handle lives."""
        self._parts.append(part)

    def afterwards(self, last: Callable[[], None]) -> None:
        """Has something called whenever an attempt has ended and its lock is free; it may end the process."""
        self._last.append(last)

    def __iter__(self) -> Iterator[Unfinished]:
        return iter(tuple(self._parts))

    def wait(self) -> None:
        """Waits for all."""
        for part in self:
            part.wait()

    def finish(self) -> CkptError | None:
        """Waits for all, and returns the first failure that nobody was told of; others are logged."""
        failures: list[CkptError] = []
        for part in self:
            try:
                part.close()
            except CkptError as error:
                failures.append(error)
        for failure in failures[1:]:
            log.error("%s", failure)
        return failures[0] if failures else None

    def end(self) -> None:
        """The attempt has ended."""
        for last in self._last:
            last()
