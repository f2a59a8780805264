"""One look without a daemon: in memory, without a lock, writing nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckpt.exceptions import UsageError
from ckpt.paths import StatePaths, config_home
from ckptd import config as config_module
from ckptd import lifecycle
from ckptd.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeper import Keeper
from ckptd.marking import Marking
from ckptd.roots import Roots
from ckptd.scanner import Scanner
from ckptd.service import Service
from ckptd.undo import Undo


def look(directories: Sequence[str]) -> Service:
    """A service over what lies in the directories now; over all watched ones and announced runs when none is given.

    Only its reads are meant. Raises UsageError for a directory that cannot be looked at.
    """
    state = StatePaths.here()
    journal = Journal(None)
    events = Events(journal)
    catalog = Catalog(None)
    # Nothing is added through `roots` when it has a store, so nothing is written.
    roots = Roots(None if directories else state.roots)
    scanner = Scanner(roots, catalog, events, state, prune=False)
    if directories:
        for directory in directories:
            watched, _ = roots.add(directory, "observe", (), keep=False)
            scanner.look(watched)
            if watched.problem is not None:
                raise UsageError(f"{directory}: {watched.problem}")
    else:
        roots.load(config_module.load(config_home()).roots)
        scanner.full()
    keeper = Keeper(catalog, scanner, events, journal)
    marking = Marking(scanner, events, journal, None)
    undo = Undo(catalog, journal, keeper, marking)
    return Service(catalog, roots, scanner, keeper, marking, undo, events, daemon=_describe)


def _describe() -> dict[str, Any]:
    return {"pid": None, "version": lifecycle.version(), "uptime_s": None}
