"""What the daemon tells its clients: numbered events, remembered for those that come back.

run.added  run.updated  run.status  run.moved  run.removed
checkpoint.writing  checkpoint.complete  checkpoint.incomplete  checkpoint.corrupt  checkpoint.gone
checkpoint.trashed  checkpoint.restored  checkpoint.purged  plan.asks
tag.moved  mark  state  root.added  root.removed  root.policy  root.enforced
root.degraded  root.ok  disk.filling  disk.recovered  config.reloaded  daemon.started  daemon.gap
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from ckpt.scan import RunView
from ckptd.catalog.sameness import much_the_same
from ckptd.journal import Journal

REMEMBERED = 10_000


class Events:
    """The last events, and whoever wants to hear of new ones. May be used from several threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._ring: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._listeners: list[Callable[[], None]] = []
        self._first = journal.seq + 1

    @property
    def seq(self) -> int:
        """Number of the last event."""
        return self._journal.seq

    def emit(self, kind: str, run: str | None = None, checkpoint: str | None = None, **fields: Any) -> None:
        """Numbers an event, remembers it and wakes the listeners. A full disk loses the number, not the daemon."""
        with self._lock:
            try:
                seq = self._journal.next()
            except OSError:
                return
            event = {"seq": seq, "at": time.time(), "kind": kind, "run": run, "checkpoint": checkpoint, **fields}
            self._ring.append(event)
        for wake in list(self._listeners):
            wake()

    def since(self, seq: int | None, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Events after a number, oldest first, and at most `limit` of them; None for all that are remembered.

        When some after it are forgotten, the first is `daemon.gap`: what was heard before must be read anew.
        """
        with self._lock:
            if seq is None:
                return list(self._ring)[:limit]
            later = list(takewhile(lambda event: event["seq"] > seq, reversed(self._ring)))[::-1]
            first = self._ring[0]["seq"] if len(self._ring) == REMEMBERED else self._first
            events = list(self._ring) if seq > self.seq else later
        # A number that was never given out comes from another state directory: nothing of it can be resumed.
        if seq < first - 1 or seq > self.seq:
            number = (events[0]["seq"] if events else self.seq + 1) - 1
            events = [
                {"seq": number, "at": time.time(), "kind": "daemon.gap", "run": None, "checkpoint": None},
                *events,
            ]
        return events[:limit]

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Calls `wake` (from any thread) after each event; returns what ends that."""
        self._listeners.append(wake)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(wake)

        return stop


def changes(old: RunView | None, new: RunView, trashed: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    """What happened between two looks at a run, as keyword arguments of `Events.emit`.

    `trashed` are the ids of checkpoints that lie in the run's trash now.
    """
    run = new.run.id
    found: list[dict[str, Any]] = []
    if old is None:
        found.append({"kind": "run.added", "run": run, "name": new.run.name, "path": new.run.path})
    elif old.run.status != new.run.status:
        found.append({"kind": "run.status", "run": run, "status": new.run.status, "was": old.run.status})
    before = {c.path: c for c in old.checkpoints} if old is not None else {}
    for checkpoint in reversed(new.checkpoints):
        earlier = before.get(checkpoint.path)
        if earlier is not None and (earlier.id, earlier.state) == (checkpoint.id, checkpoint.state):
            continue
        if old is None and checkpoint.state != "writing":
            continue
        found.append(
            {
                "kind": f"checkpoint.{checkpoint.state}",
                "run": run,
                "checkpoint": checkpoint.id,
                "path": checkpoint.path,
                "step": checkpoint.step,
            }
        )
    now_there = {c.path for c in new.checkpoints}
    for path, checkpoint in before.items():
        if path not in now_there:
            kind = "checkpoint.trashed" if checkpoint.id in trashed else "checkpoint.gone"
            found.append({"kind": kind, "run": run, "checkpoint": checkpoint.id, "path": path})
    if old is not None:
        found += _moved_tags(old, new)
        if not found and not much_the_same(old, new):
            found.append({"kind": "run.updated", "run": run})
    return found


def _moved_tags(old: RunView, new: RunView) -> list[dict[str, Any]]:
    was = {tag: c.id for c in old.checkpoints for tag in c.tags}
    is_now = {tag: c.id for c in new.checkpoints for tag in c.tags}
    return [
        {"kind": "tag.moved", "run": new.run.id, "checkpoint": is_now.get(tag), "tag": tag, "was": was.get(tag)}
        for tag in sorted(was.keys() | is_now.keys())
        if was.get(tag) != is_now.get(tag)
    ]
