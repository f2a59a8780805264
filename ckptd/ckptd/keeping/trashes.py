"""Which trashes there are, and whose checkpoints lie in them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckpt.encoding import printable
from ckpt.paths import RunPaths, machine_id
from ckpt.records import Run
from ckpt.trash import Trash, TrashEntry, placing
from ckpt.trash.owning import Owner
from ckptd.catalog.catalog import Catalog
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched

log = logging.getLogger("ckptd.keeper")


@dataclass(frozen=True)
class Shelf:
    """A trash that exists: that of an own run, or of the foreign runs below a root."""

    trash: Trash
    run: Run | None = None
    """The own run that it belongs to."""
    watched: Watched | None = None
    """The root that it belongs to."""
    place: placing.Place | None = None

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return str(self.trash.directory)

    def is_ours(self) -> bool:
        """Whether no other machine owns it. Raises OperationError when that cannot be told."""
        if self.place is None:
            return True
        owned = Owner(self.place.owner).read()
        return owned is None or owned.machine == machine_id()

    def renew(self) -> None:
        """Says that this machine is at work in the trash of an enforced root. Raises OperationError."""
        if self.place is not None and self.watched is not None and self.watched.enforced:
            owner = Owner(self.place.owner)
            if owner.read() is not None:
                owner.renew(machine_id(), time.time())


@dataclass(frozen=True)
class Shelved:
    """An entry, the trash that it lies in, and its run as far as that is known."""

    shelf: Shelf
    entry: TrashEntry
    run: Run | None

    @property
    def run_id(self) -> str:
        """The id of its run; a copied run has another one than its entries tell."""
        return self.entry.run if self.run is None else self.run.id


class Trashes:
    """Finds trashes. An own run has its own; all foreign runs below a root share the root's."""

    def __init__(self, catalog: Catalog, roots: Roots) -> None:
        self._catalog = catalog
        self._roots = roots

    def all(self) -> Iterator[Shelf]:
        """Every trash that exists now. Those of roots outlive their enforcement."""
        for view in self._catalog.all():
            trash = RunPaths(Path(view.run.path)).trash
            if view.run.own and os.path.isdir(trash):
                yield Shelf(Trash(trash), run=view.run)
        for watched in self._roots.all():
            yield from self.of_root(watched)

    def of_root(self, watched: Watched) -> Iterator[Shelf]:
        """The trashes of a root that exist."""
        for place in placing.existing(watched.root.path):
            yield Shelf(place.open(), watched=watched, place=place)

    def entries(self, run: str | None = None) -> list[Shelved]:
        """What lies in all trashes that can be read, or what was of one run, newest first."""
        found: list[Shelved] = []
        for shelf in self.all():
            if run is None or shelf.run is None or shelf.run.id == run:
                try:
                    found += [Shelved(shelf, entry, self._run_of(shelf, entry)) for entry in shelf.trash.entries()]
                except OSError as error:
                    # One disk that fails must not hide what can be brought back from the others.
                    log.warning("the trash %s cannot be read: %s", printable(shelf.name), error.strerror)
        chosen = [item for item in found if run is None or item.run_id == run]
        return sorted(chosen, key=lambda item: item.entry.trashed_at, reverse=True)

    def place_for(self, root: str) -> placing.Place:
        """Where the trash of a root belongs, by all that is known. Raises OperationError when it can be nowhere."""
        return placing.where(
            root, (file for view in self._catalog.all() for c in view.checkpoints for file in (c.path, *c.files))
        )

    def _run_of(self, shelf: Shelf, entry: TrashEntry) -> Run | None:
        if shelf.run is not None:
            return shelf.run
        view = self._catalog.get(entry.run)
        return None if view is None else view.run
