"""The disks that runs lie on: looked at again and again, and what is to be said of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ckpt.encoding import path_fields
from ckpt.exceptions import CkptError
from ckpt.scan import RunView
from ckptd.config.values import Config
from ckptd.space.alarm import Alarm, judged
from ckptd.space.cadence import Cadence, cadence, written_soon
from ckptd.space.forecast import full_in_s
from ckptd.space.pressure import wanted_free
from ckptd.space.samples import Room, Samples, room_at

_Identity = tuple[int, int]
_TRASH_S = 60.0  # the trash of a training is listed again after so long


class Emit(Protocol):
    """Tells clients of something: `Events.emit`."""

    def __call__(self, kind: str, run: str | None = None, checkpoint: str | None = None, **fields: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Outlook:
    """A disk now, and when it is full; None where that is not known or not foreseen."""

    device: int | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    full_in_s: float | None = None
    filling: bool = False
    """Whether that is so soon, or so little is free, that it was told."""


class Space:
    """The disks by the paths on them; those on one disk share what is known of it. May be used from several threads."""

    def __init__(
        self,
        emit: Emit,
        trashed: Callable[[str], int],
        *,
        clock: Callable[[], float] = time.monotonic,
        warn_before: Callable[[], float] = lambda: Config().warn_before,
    ) -> None:
        """`trashed` gives the bytes that lie in the trash for a run, by its id; `clock` does not jump.

        `warn_before` gives how many seconds before a disk is full that is told.
        """
        self._emit = emit
        self._trashed = trashed
        self._clock = clock
        self.warn_before = warn_before
        self._samples = Samples()
        self._alarms: dict[_Identity, Alarm] = {}
        self._full_in: dict[_Identity, float | None] = {}
        self._listed: dict[str, tuple[float, int]] = {}

    def look(self, roots: Iterable[str], views: Iterable[RunView], now: float) -> bool:
        """Looks at the disks of some roots and of the runs that train, and tells of one that fills or has recovered.

        `now` is Unix seconds, the clock of the checkpoints. Returns whether a disk has less free than should be, so
        that something has to leave the trash early.
        """
        at = self._clock()
        rooms: dict[_Identity, tuple[str, Room]] = {}
        for path in roots:
            _add(rooms, path)
        trainings: dict[_Identity, list[tuple[Cadence, int]]] = {}
        needed: dict[_Identity, int] = {}
        for view in views:
            disk = _add(rooms, view.run.path) if view.run.status == "training" else None
            if disk is None:
                continue
            needed[disk] = max(needed.get(disk, 0), written_soon([view]))
            found = cadence(view, now)
            if found is not None:
                trainings.setdefault(disk, []).append((found, self._in_trash(view.run.id, at)))
        any_short = False
        self._samples.take((room for _, room in rooms.values()), at)
        for disk, (path, room) in rooms.items():
            full = full_in_s(room.free, self._samples.of(room), trainings.get(disk, ()))
            self._full_in[disk] = full
            is_short = room.free < wanted_free(room.total, needed.get(disk, 0))
            any_short = any_short or is_short
            alarm = self._alarms.get(disk, Alarm())
            self._alarms[disk], told = judged(alarm, full, at, self.warn_before(), short=is_short)
            if told is not None:
                self._emit(told, **path_fields(path), full_in_s=full, free_bytes=room.free)
        for disk in self._full_in.keys() - rooms.keys():
            del self._full_in[disk], self._alarms[disk]
        self._listed = {run: known for run, known in self._listed.items() if at - known[0] < _TRASH_S}
        return any_short

    def of(self, path: str) -> Outlook:
        """The disk that a path lies on: what is free now, and what the last look foresaw."""
        room = room_at(path)
        if room is None:
            return Outlook()
        alarm = self._alarms.get(room.identity, Alarm())
        return Outlook(room.device, room.free, room.total, self._full_in.get(room.identity), alarm.filling)

    def _in_trash(self, run: str, at: float) -> int:
        known = self._listed.get(run)
        if known is None or at - known[0] >= _TRASH_S:
            try:
                size = self._trashed(run)
            except (OSError, CkptError):
                size = 0  # what cannot be listed is told elsewhere
            known = self._listed[run] = at, size
        return known[1]


def _add(rooms: dict[_Identity, tuple[str, Room]], path: str) -> _Identity | None:
    """Adds the disk of a path under the first path that was seen on it; its identity, None when it cannot be asked."""
    room = room_at(os.path.realpath(path))
    if room is None:
        return None
    rooms.setdefault(room.identity, (path, room))
    return room.identity
