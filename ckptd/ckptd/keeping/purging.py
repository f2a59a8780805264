"""What lies in the trash deleted for good: when it is due, and when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import CkptError, OperationError
from ckpt.scan import RunView
from ckpt.trash import Trash, TrashEntry
from ckpt.trash.journal import is_full
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.enforcing import holding, recover
from ckptd.keeping.open_files import user_of_entry
from ckptd.keeping.retrying import Retries, SomeStay
from ckptd.keeping.trashes import Shelf, Trashes
from ckptd.keeping.waits import Waits
from ckptd.space.cadence import written_soon
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
        retries: Retries,
        waits: Waits,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._catalog = catalog
        self._trashes = trashes
        self._events = events
        self._journal = journal
        self._retries = retries
        self._waits = waits
        self._is_stopping = is_stopping
        self._recovered: set[str] = set()

    def due(self) -> None:
        """Purges everywhere what has waited long enough, and makes room on full disks. Raises nothing."""
        shelves = list(self._trashes.all())
        names = {shelf.name for shelf in shelves}
        for shelf in filter(_may_go, shelves):
            if self._is_stopping():
                return
            self._retries.attempt(shelf.name, _told(shelf), partial(self._due, shelf))
        self._recovered &= names
        self._waits.save(names)
        self._make_room(shelves)

    def make_room(self) -> None:
        """Purges before its time what has to go so that no disk fills. Raises nothing."""
        self._make_room(list(self._trashes.all()))

    def is_short(self, runs: Iterable[str]) -> bool:
        """Whether a disk of some runs, by their ids, would otherwise fill, so that their trash may be purged early."""
        views = (self._catalog.get(run) for run in runs)
        rooms = (room_at(view.run.path) for view in views if view is not None)
        disks = {room.identity for room in rooms if room is not None}
        shelves = [shelf for shelf in self._trashes.all() if _may_go(shelf)]
        return any(disk.room.identity in disks for disk in self._pressed(shelves))

    def purge(
        self, shelf: Shelf, entries: Sequence[TrashEntry], *, early: str | None = None
    ) -> tuple[list[TrashEntry], int]:
        """Deletes entries of one trash; returns those that are gone and the bytes freed.

        One that some process has open stays. `early` says why they go before their time, where nobody asked for it:
        then no lock of a run is waited for. Raises LockedError while a training holds the run, and OperationError,
        also for the trash of another owner.
        """
        told: dict[str, Any] = {} if early is None else {"early": True, "why": early}
        shelf.refuse_other()
        gone: list[TrashEntry] = []
        freed = 0
        # The trash has a lock of its own. A training that fills the disk must not keep its trash from making room.
        with nullcontext() if shelf.run is None or early is not None else holding(shelf.run):
            if early is None:
                shelf.trash.recover()
            for entry in entries:
                if _is_open(shelf.trash, entry):
                    continue
                checkpoint = str(entry.checkpoint.get("id"))
                run = entry.run if shelf.run is None else shelf.run.id
                line = {"run": run, "checkpoint": checkpoint, "entry": entry.id, "bytes": entry.bytes, **told}
                written = self._record(line)
                freed += shelf.trash.purge(entry.id)
                gone.append(entry)
                if not written:
                    self._record(line)
                self._events.emit("checkpoint.purged", run, checkpoint, path=printable(entry.path), **told)
        return gone, freed

    def _record(self, line: Mapping[str, Any]) -> bool:
        """Writes that an entry is purged; False where the disk has no room for that: a purge makes room."""
        try:
            self._journal.record("purge", **line)
        except OSError as error:
            if not is_full(error):
                raise
            return False
        return True

    def _make_room(self, shelves: Sequence[Shelf]) -> None:
        try:
            for disk in self._pressed([shelf for shelf in shelves if _may_go(shelf)]):
                self._relieve(disk)
        except Exception as error:  # noqa: BLE001  what goes wrong with one disk must not end the daemon
            self._retries.tell("pressure", "room on a full disk", error)

    def _pressed(self, shelves: Sequence[Shelf]) -> list[_Disk]:
        """The disks that would otherwise fill, each with the trashes on it."""
        disks: dict[tuple[int, int], _Disk] = {}
        for shelf in shelves:
            room = room_at(shelf.name)
            if room is not None:
                disks.setdefault(room.identity, _Disk(room, [], [])).shelves.append(shelf)
        for view in self._catalog.all():
            if (
                view.run.status == "training"
                and (room := room_at(view.run.path)) is not None
                and room.identity in disks
            ):
                disks[room.identity].trainings.append(view)
        return [disk for disk in disks.values() if disk.room.free < wanted_free(disk.room.total, disk.needed)]

    def _relieve(self, disk: _Disk) -> None:
        """Purges from the trashes of one disk until enough is free there, or nothing is left that may go."""
        lying: list[tuple[Shelf, TrashEntry]] = []
        waited: dict[str, float] = {}
        for shelf in disk.shelves:
            if entries := _ours_in(shelf):
                lying += ((shelf, entry) for entry in entries)
                waited |= self._waits.waited(shelf.name, entries)
        room: Room | None = disk.room
        while room is not None and lying and not self._is_stopping():
            chosen = due_early((entry for _, entry in lying), room.free, room.total, disk.needed, waited)
            ids = {entry.id for entry in chosen}
            if not ids:
                return
            why = f"the disk is nearly full: {room.free} bytes free"
            for shelf, entry in lying:
                if entry.id in ids and not self._is_stopping():
                    self._purge_early(shelf, entry, why)
            # What could not go is passed over: others take its place.
            lying = [(shelf, entry) for shelf, entry in lying if entry.id not in ids]
            room = room_at(disk.shelves[0].name)

    def _purge_early(self, shelf: Shelf, entry: TrashEntry, why: str) -> None:
        try:
            self.purge(shelf, [entry], early=why)
        except Exception as error:  # noqa: BLE001  an entry that cannot go keeps no other from making room
            self._retries.tell(f"pressure {shelf.name}", _told(shelf), error)

    def _due(self, shelf: Shelf) -> None:
        if not shelf.is_ours():
            return
        shelf.renew()
        if shelf.run is None and shelf.name not in self._recovered:
            # What a killed daemon left half way; an own run's training recovers its own.
            recover(shelf.trash, shelf.name)
            self._recovered.add(shelf.name)
        entries = self._waits.due(shelf.name, shelf.trash.entries())
        if entries and len(self.purge(shelf, entries)[0]) < len(entries):
            raise SomeStay


@dataclass(frozen=True)
class _Disk:
    """A disk, the trashes on it, and the trainings that write to it now."""

    room: Room
    shelves: list[Shelf]
    trainings: list[RunView]

    @property
    def needed(self) -> int:
        """Bytes that they write soon."""
        return written_soon(self.trainings)


def _may_go(shelf: Shelf) -> bool:
    """Whether something in it is purged unasked: what stands there now is what it was, and it is ours to change."""
    return shelf.watched is None or (not shelf.stays and shelf.watched.check() is None)


def _told(shelf: Shelf) -> str:
    return f"the trash {printable(shelf.name)}"


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
