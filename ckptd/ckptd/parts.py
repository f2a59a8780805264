"""The parts of a daemon put together: the same ones serve on a socket, answer once, and rebuild."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt.paths import StatePaths
from ckptd.catalog.catalog import Catalog
from ckptd.config.values import Config
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.clock import Clock
from ckptd.keeping.keeper import Keeper
from ckptd.keeping.marking import Marking
from ckptd.keeping.undo import Undo
from ckptd.looking.scanner import Scanner
from ckptd.policies import Policies
from ckptd.roots.roots import Roots
from ckptd.serving.repeats import Repeats
from ckptd.serving.service import Service
from ckptd.space.space import Space


@dataclass(frozen=True)
class Parts:
    """What knows, and what acts; nothing runs by itself."""

    journal: Journal
    events: Events
    catalog: Catalog
    roots: Roots
    policies: Policies
    scanner: Scanner
    keeper: Keeper
    marking: Marking
    undo: Undo
    space: Space

    def configure(self, config: Config, session: Sequence[str] = ()) -> list[str]:
        """Takes a config and the roots of this daemon's command line; returns what had to be left out.

        Every run that is known already is under the new policies when it returns.
        """
        problems = self.roots.load(config.roots, session, everywhere=config.exclude)
        self.policies.config = config
        self.scanner.govern()
        return problems

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
            space=self.space,
            policies=self.policies,
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
    clock = Clock()
    policies = Policies(roots, clock)
    scanner = Scanner(roots, policies, catalog, events, state, journal=journal, prune=not looks_only)
    kept = None if looks_only else state
    keeper = Keeper(catalog, roots, policies, scanner, events, journal, kept, clock, lambda: policies.config.limits)
    marking = Marking(scanner, events, journal, kept)
    undo = Undo(catalog, journal, keeper, marking)
    space = Space(
        events.emit,
        lambda run: sum(item.entry.frees for item in keeper.entries(run)),
        warn_before=lambda: policies.config.warn_before,
    )
    return Parts(journal, events, catalog, roots, policies, scanner, keeper, marking, undo, space)
