"""What lies in the trash deleted for good: when it is due, and when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import OperationError
from ckpt.trash import Trash, TrashEntry
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.enforcing import holding, recover
from ckptd.keeping.opened import user_of_entry
from ckptd.keeping.patience import Patience, SomeStay
from ckptd.keeping.trashes import Shelf, Trashes
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
        is_stopping: Callable[[], bool],
    ) -> None:
        self._catalog = catalog
        self._trashes = trashes
        self._events = events
        self._journal = journal
        self._patience = patience
        self._is_stopping = is_stopping
        self._recovered: set[str] = set()

    def due(self, now: float) -> None:
        """Purges everywhere what may go at `now`, Unix seconds by a clock that does not jump. Raises nothing."""
        believed: list[Shelf] = []
        for shelf in self._trashes.all():
            if self._is_stopping():
                return
            if shelf.watched is not None and shelf.watched.check() is not None:
                # What stands there now may not be what it was.
                continue
            believed.append(shelf)
            self._attempt(shelf, partial(self._due, shelf, now))
        self._patience.attempt("pressure", "room on a full disk", partial(self._relieve, believed))

    def purge(self, shelf: Shelf, entries: Sequence[TrashEntry], **why: Any) -> tuple[list[TrashEntry], int]:
        """Deletes entries of one trash; returns those that are gone and the bytes freed.

        One that some process has open stays. `why` is told beside them in journal and events. Raises LockedError
        while a training holds the run, and OperationError, also for the trash of another machine.
        """
        if not shelf.is_ours():
            raise OperationError(f"another machine owns the trash {printable(shelf.name)}", hint="purge it there")
        gone: list[TrashEntry] = []
        freed = 0
        # The trash has a lock of its own. A training that fills the disk must not keep its trash from making room.
        with nullcontext() if shelf.run is None or why.get("early") else holding(shelf.run):
            shelf.trash.recover()
            for entry in entries:
                if _is_open(shelf.trash, entry):
                    continue
                checkpoint = str(entry.checkpoint.get("id"))
                run = entry.run if shelf.run is None else shelf.run.id
                self._journal.record("purge", run=run, checkpoint=checkpoint, entry=entry.id, bytes=entry.bytes, **why)
                freed += shelf.trash.purge(entry.id)
                gone.append(entry)
                self._events.emit("checkpoint.purged", run, checkpoint, path=printable(entry.path), **why)
        return gone, freed

    def _attempt(self, shelf: Shelf, act: Callable[[], None]) -> None:
        self._patience.attempt(shelf.name, f"the trash {printable(shelf.name)}", act)

    def _relieve(self, shelves: Sequence[Shelf]) -> None:
        for shelf, entries, free in self._pressed(shelves):
            if self._is_stopping():
                return
            why = f"the disk is nearly full: {free} bytes free"
            self._attempt(shelf, partial(self._all, shelf, entries, early=True, why=why))

    def _pressed(self, shelves: Sequence[Shelf]) -> Iterator[tuple[Shelf, list[TrashEntry], int]]:
        """What has to go before its time because its disk would otherwise fill, and the bytes that are free there."""
        disks: dict[int, tuple[Room, list[Shelf]]] = {}
        for shelf in shelves:
            room = room_at(shelf.name)
            if room is not None and shelf.is_ours():
                disks.setdefault(room.device, (room, []))[1].append(shelf)
        for room, mine in disks.values():
            needed = largest(view for view in self._catalog.all() if _device(view.run.path) == room.device)
            if room.free >= wanted_free(room.total, needed):
                continue
            lying = {shelf.name: shelf.trash.entries() for shelf in mine}
            entries = (entry for found in lying.values() for entry in found)
            chosen = {entry.id for entry in due_early(entries, room.free, room.total, needed)}
            for shelf in mine:
                picked = [entry for entry in lying[shelf.name] if entry.id in chosen]
                if picked:
                    yield shelf, picked, room.free

    def _due(self, shelf: Shelf, now: float) -> None:
        if not shelf.is_ours():
            return
        shelf.renew()
        if shelf.run is None and shelf.name not in self._recovered:
            # What a killed daemon left half way; an own run's training recovers its own.
            recover(shelf.trash, shelf.name)
            self._recovered.add(shelf.name)
        self._all(shelf, shelf.trash.due(now))

    def _all(self, shelf: Shelf, entries: Sequence[TrashEntry], **why: Any) -> None:
        if entries and len(self.purge(shelf, entries, **why)[0]) < len(entries):
            raise SomeStay


def _device(path: str) -> int | None:
    room = room_at(path)
    return None if room is None else room.device


def _is_open(trash: Trash, entry: TrashEntry) -> bool:
    """Whether some process has something of an entry open; what cannot be told has waited long enough."""
    try:
        return user_of_entry(trash, entry) is not None
    except OperationError:
        return False
