"""Which trashes there are, and whose checkpoints lie in them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import OperationError
from ckpt.paths import RunPaths, is_inside
from ckpt.records import Run
from ckpt.trash import Trash, TrashEntry, placing
from ckpt.trash.owning import FRESH_S, TAKE_OVER, Owner, owner_id
from ckptd.catalog.catalog import Catalog
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched

log = logging.getLogger("ckptd.keeper")
RENEW_S = FRESH_S / 4  # between two signs of life in one trash


@dataclass(frozen=True)
class Shelf:
    """A trash that exists: that of an own run, or of the foreign runs below a root."""

    trash: Trash
    run: Run | None = None
    """The own run that it belongs to."""
    watched: Watched | None = None
    """The root that it belongs to, or in which that lies now."""
    place: placing.Place | None = None

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return str(self.trash.directory)

    @property
    def stays(self) -> bool:
        """Whether nothing in it is purged by itself: nothing is written under a root that is only observed."""
        return self.watched is not None and not self.watched.enforced

    def is_ours(self) -> bool:
        """Whether nobody else owns it. Raises OperationError when that cannot be told."""
        return self.place is None or self.place.taken(owner_id()) is None

    def refuse_other(self) -> None:
        """Raises OperationError where somebody else owns it, and when that cannot be told."""
        other = None if self.place is None else self.place.taken(owner_id())
        if other is not None:
            raise OperationError(
                f"the trash {printable(self.name)} is owned by {other.shown}",
                hint=f"do it there, or take the directory over first: {TAKE_OVER}",
            )

    def renew(self) -> None:
        """Says that this daemon is at work in the trash of an enforced root. Raises OperationError."""
        if self.place is not None and self.watched is not None and self.watched.enforced:
            owner, now = Owner(self.place.owner), time.time()
            owned = owner.read()
            if owned is not None and now - owned.seen_at >= RENEW_S:
                owner.renew(owner_id(), now)


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
        remembered = self._roots.places()
        for watched in self._roots.all():
            yield from _of_root(watched, remembered)

    def of_root(self, watched: Watched) -> Iterator[Shelf]:
        """The trashes of a root that exist: also those of directories in it that were roots once."""
        yield from _of_root(watched, self._roots.places())

    def made(self, place: placing.Place) -> None:
        """Remembers a trash that is made, so that it is found whatever its root is called. Raises OperationError."""
        self._roots.keep_place(place)

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
        above = os.path.dirname(root)
        entries: list[str] = []
        for view in self._catalog.all():
            path = view.run.path
            if len(path) <= len(root) and is_inside(root, path):
                entries += (file for c in view.checkpoints for file in (c.path, *c.files))
            elif path.rpartition("/")[0] in (root, above):
                # Of a run that begins deeper only a checkpoint that is all of it lies beside others there.
                entries += (path for c in view.checkpoints if c.path == path)
        return placing.where(root, entries)

    def _run_of(self, shelf: Shelf, entry: TrashEntry) -> Run | None:
        if shelf.run is not None:
            return shelf.run
        view = self._catalog.get(entry.run)
        # With its root a run may have got another name, and so another id, since.
        above = os.path.dirname(entry.path)
        while view is None and above != os.path.dirname(above):
            view, above = self._catalog.at(above), os.path.dirname(above)
        return None if view is None else view.run


def _of_root(watched: Watched, remembered: Iterable[placing.Place]) -> Iterator[Shelf]:
    found = placing.existing(watched.root.path)
    found += [place for place in remembered if is_inside(place.root, watched.root.path) and place.is_made]
    # A root that holds checkpoints side by side may have been called otherwise when its place was found by that name.
    seen: set[str] = set()
    for place in found:
        if place.directory not in seen:
            seen.add(place.directory)
            yield Shelf(place.open(), watched=watched, place=place)
