"""When something that failed is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ckpt.exceptions import LockedError
from ckpt.trash.journal import is_full

RETRY_S = 60.0  # after a failure, doubled each time
RETRY_MAX_S = 3600.0
HELD_S = 5.0  # after another process held the lock, or something had to stay
FULL_S = 10.0  # after the disk was full: there may be room at any moment


class SomeStay(Exception):
    """An act was done, but for parts that must not be touched after all."""


class Retries:
    """Acts by name, each put off for a while after it failed: every attempt may be an event that leads to the next."""

    def __init__(
        self, failed: Callable[[str, BaseException], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`failed` hears of errors: what was tried, and why it failed. `clock` does not jump."""
        self._failed = failed
        self._clock = clock
        self._later: dict[str, tuple[float, float]] = {}
        self._told: dict[str, float] = {}

    def is_put_off(self, name: str) -> bool:
        """Whether something failed so lately that it is not tried now."""
        known = self._later.get(name)
        return known is not None and self._clock() < known[0]

    def attempt(self, name: str, what: str, act: Callable[[], Any]) -> None:
        """Does something unless it failed lately. Raises nothing; `what` tells a person what failed."""
        if self.is_put_off(name):
            return
        self._forget()
        _, pause = self._later.get(name, (0.0, RETRY_S))
        try:
            act()
        except (LockedError, SomeStay):
            self._later[name] = (self._clock() + HELD_S, RETRY_S)
        except Exception as error:  # noqa: BLE001  what goes wrong with one run must not end the daemon
            if _is_of_full_disk(error):
                self._later[name] = (self._clock() + FULL_S, RETRY_S)
                self.tell(name, what, error)
            else:
                self._later[name] = (self._clock() + pause, min(2 * pause, RETRY_MAX_S))
                self._failed(what, error)
        else:
            self._later.pop(name, None)
            self._told.pop(name, None)

    def tell(self, name: str, what: str, error: BaseException) -> None:
        """Tells of a failure that is tried again soon: the first one, and then one an hour."""
        if self._clock() >= self._told.get(name, -RETRY_MAX_S):
            self._told[name] = self._clock() + RETRY_MAX_S
            self._failed(what, error)

    def _forget(self) -> None:
        """Drops what nobody has tried again for long: its run or trash is gone, or needs nothing any more."""
        long_ago = self._clock() - 2 * RETRY_MAX_S
        for name in [name for name, (until, _) in self._later.items() if until < long_ago]:
            del self._later[name]
        for name in [name for name, until in self._told.items() if until < long_ago]:
            del self._told[name]


def _is_of_full_disk(error: BaseException | None) -> bool:
    """Whether something failed, at the bottom of it, because the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and is_full(error):
            return True
        error = error.__cause__
    return False
