"""What waits for a person's word, told once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ckptd.events import Events

TOGETHER = ""
"""Stands for all runs together where a single one has its id."""


class Asks:
    """Plans that are carried out only when a person confirms them. May be used from several threads."""

    def __init__(self, events: Events, is_known: Callable[[str], bool]) -> None:
        """`is_known` says whether there is a run with an id; what waited for one that is gone is forgotten."""
        self._events = events
        self._is_known = is_known
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[str, Any]] = {}

    def ask(self, run: str, plan: str, text: str) -> None:
        """Remembers that a plan waits, and why; told in an event when that is new. `run` may be TOGETHER."""
        with self._lock:
            before = self._waiting.get(run)
            if before is not None and (before["plan"], before["text"]) == (plan, text):
                return
            self._forget_gone()
            self._waiting[run] = {"run": run or None, "plan": plan, "text": text, "at": time.time()}
        self._events.emit("plan.asks", run or None, plan=plan, text=text)

    def settle(self, run: str) -> None:
        """A run, or TOGETHER, does not wait any more."""
        with self._lock:
            self._waiting.pop(run, None)

    def all(self) -> list[dict[str, Any]]:
        """What waits, the latest first: {"run": id or None for all together, "plan", "text", "at"}."""
        with self._lock:
            self._forget_gone()
            return sorted(self._waiting.values(), key=lambda ask: -float(ask["at"]))

    def _forget_gone(self) -> None:
        for run in [run for run in self._waiting if run != TOGETHER and not self._is_known(run)]:
            del self._waiting[run]
