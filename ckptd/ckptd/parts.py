"""The parts of a daemon put together: the same ones serve on a socket, answer once, and rebuild."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ckpt.paths import StatePaths
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.keeper import Keeper
from ckptd.keeping.marking import Marking
from ckptd.keeping.undo import Undo
from ckptd.looking.scanner import Scanner
from ckptd.roots.roots import Roots
from ckptd.serving.repeats import Repeats
from ckptd.serving.service import Service


@dataclass(frozen=True)
class Parts:
    """What knows, and what acts; nothing runs by itself."""

    journal: Journal
    events: Events
    catalog: Catalog
    roots: Roots
    scanner: Scanner
    keeper: Keeper
    marking: Marking
    undo: Undo

    def service(self, daemon: Callable[[], dict[str, Any]], **hooks: Any) -> Service:
        """The answers of the API over these parts; `hooks` are keyword arguments of Service."""
        return Service(
            self.catalog,
            self.roots,
            self.scanner,
            self.keeper,
            self.marking,
            self.undo,
            self.events,
            repeats=Repeats(self.journal),
            daemon=daemon,
            **hooks,
        )


def writing(state: StatePaths) -> Parts:
    """The parts of a daemon that keeps what it learns in its state directory. Raises OSError.

    The caller holds the daemon's lock.
    """
    return _assemble(state, Journal(state.journal), Catalog(state.catalog), Roots(state.roots), looks_only=False)


def reading(state: StatePaths, *, stored_roots: bool) -> Parts:
    """Parts that write nothing anywhere; with the roots that commands asked for when `stored_roots`."""
    roots = Roots(state.roots if stored_roots else None)
    return _assemble(state, Journal(None), Catalog(None), roots, looks_only=True)


def _assemble(state: StatePaths, journal: Journal, catalog: Catalog, roots: Roots, *, looks_only: bool) -> Parts:
    events = Events(journal)
    scanner = Scanner(roots, catalog, events, state, journal=journal, prune=not looks_only)
    keeper = Keeper(catalog, scanner, events, journal)
    marking = Marking(scanner, events, journal, None if looks_only else state)
    undo = Undo(catalog, journal, keeper, marking)
    return Parts(journal, events, catalog, roots, scanner, keeper, marking, undo)
