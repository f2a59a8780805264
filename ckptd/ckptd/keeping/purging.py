"""What lies in the trash deleted for good: when it is due, and when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import CkptError, OperationError
from ckpt.scan import RunView
from ckpt.trash import Trash, TrashEntry
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.enforcing import holding, recover
from ckptd.keeping.opened import user_of_entry
from ckptd.keeping.patience import Patience, SomeStay
from ckptd.keeping.trashes import Shelf, Trashes
from ckptd.keeping.waits import Waits
from ckptd.space.cadence import largest
from ckptd.space.pressure import due_early, wanted_free
from ckptd.space.samples import Room, room_at


class Purging:
    """Purges. The caller lets one act at a time."""

    def __init__(
        self,
        catalog: Catalog,
        trashes: Trashes,
        events: Events,
        journal: Journal,
        patience: Patience,
        waits: Waits,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._catalog = catalog
        self._trashes = trashes
        self._events = events
        self._journal = journal
        self._patience = patience
        self._waits = waits
        self._is_stopping = is_stopping
        self._recovered: set[str] = set()

    def due(self) -> None:
        """Purges everywhere what has waited long enough, and makes room on full disks. Raises nothing."""
        shelves = list(self._trashes.all())
        believed = [shelf for shelf in shelves if _is_believed(shelf)]
        for shelf in believed:
            if self._is_stopping():
                return
            self._attempt(shelf, partial(self._due, shelf))
        names = {shelf.name for shelf in shelves}
        self._recovered &= names
        self._waits.save(names)
        self._make_room(believed)

    def make_room(self) -> None:
        """Purges before its time what has to go so that no disk fills. Raises nothing."""
        self._make_room([shelf for shelf in self._trashes.all() if _is_believed(shelf)])

    def purge(
        self, shelf: Shelf, entries: Sequence[TrashEntry], *, early: str | None = None
    ) -> tuple[list[TrashEntry], int]:
        """Deletes entries of one trash; returns those that are gone and the bytes freed.

        One that some process has open stays. `early` says why they go before their time, where nobody asked for it:
        then no lock of a run is waited for. Raises LockedError while a training holds the run, and OperationError,
        also for the trash of another machine.
        """
        told: dict[str, Any] = {} if early is None else {"early": True, "why": early}
        if not shelf.is_ours():
            raise OperationError(f"another machine owns the trash {printable(shelf.name)}", hint="purge it there")
        gone: list[TrashEntry] = []
        freed = 0
        # The trash has a lock of its own. A training that fills the disk must not keep its trash from making room.
        with nullcontext() if shelf.run is None or early is not None else holding(shelf.run):
            shelf.trash.recover()
            for entry in entries:
                if _is_open(shelf.trash, entry):
                    continue
                checkpoint = str(entry.checkpoint.get("id"))
                run = entry.run if shelf.run is None else shelf.run.id
                self._journal.record("purge", run=run, checkpoint=checkpoint, entry=entry.id, bytes=entry.bytes, **told)
                freed += shelf.trash.purge(entry.id)
                gone.append(entry)
                self._events.emit("checkpoint.purged", run, checkpoint, path=printable(entry.path), **told)
        return gone, freed

    def _attempt(self, shelf: Shelf, act: Callable[[], None]) -> None:
        self._patience.attempt(shelf.name, f"the trash {printable(shelf.name)}", act)

    def _make_room(self, shelves: Sequence[Shelf]) -> None:
        self._patience.attempt("pressure", "room on a full disk", partial(self._relieve, shelves))

    def _relieve(self, shelves: Sequence[Shelf]) -> None:
        for shelf, entries, free in self._pressed(shelves):
            if self._is_stopping():
                return
            why = f"the disk is nearly full: {free} bytes free"
            self._attempt(shelf, partial(self._all, shelf, entries, early=why))

    def _pressed(self, shelves: Sequence[Shelf]) -> Iterator[tuple[Shelf, list[TrashEntry], int]]:
        """What has to go before its time because its disk would otherwise fill, and the bytes that are free there."""
        disks: dict[int, _Disk] = {}
        for shelf in shelves:
            room = room_at(shelf.name)
            if room is not None:
                disks.setdefault(room.device, _Disk(room, [], [])).shelves.append(shelf)
        for view in self._catalog.all():
            if view.run.status == "training" and (room := room_at(view.run.path)) is not None and room.device in disks:
                disks[room.device].trainings.append(view)
        for disk in disks.values():
            room, needed = disk.room, largest(disk.trainings)
            if room.free >= wanted_free(room.total, needed):
                continue
            lying = {shelf.name: _ours_in(shelf) for shelf in disk.shelves}
            entries = (entry for found in lying.values() for entry in found)
            chosen = {entry.id for entry in due_early(entries, room.free, room.total, needed)}
            for shelf in disk.shelves:
                picked = [entry for entry in lying[shelf.name] if entry.id in chosen]
                if picked:
                    yield shelf, picked, room.free

    def _due(self, shelf: Shelf) -> None:
        if not shelf.is_ours():
            return
        shelf.renew()
        if shelf.run is None and shelf.name not in self._recovered:
            # What a killed daemon left half way; an own run's training recovers its own.
            recover(shelf.trash, shelf.name)
            self._recovered.add(shelf.name)
        self._all(shelf, self._waits.due(shelf.name, shelf.trash.entries()))

    def _all(self, shelf: Shelf, entries: Sequence[TrashEntry], *, early: str | None = None) -> None:
        if entries and len(self.purge(shelf, entries, early=early)[0]) < len(entries):
            raise SomeStay


@dataclass(frozen=True)
class _Disk:
    """A disk, the trashes on it, and the trainings that write to it now."""

    room: Room
    shelves: list[Shelf]
    trainings: list[RunView]


def _is_believed(shelf: Shelf) -> bool:
    """Whether what stands there now is what it was."""
    return shelf.watched is None or shelf.watched.check() is None


def _ours_in(shelf: Shelf) -> list[TrashEntry]:
    """What lies in a trash and may go; nothing where that cannot be told, which `due` tells of for each trash."""
    try:
        return shelf.trash.entries() if shelf.is_ours() else []
    except (CkptError, OSError):
        return []


def _is_open(trash: Trash, entry: TrashEntry) -> bool:
    """Whether some process has something of an entry open; what cannot be told has waited long enough."""
    try:
        return user_of_entry(trash, entry) is not None
    except OperationError:
        return False
