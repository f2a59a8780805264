"""A daemon's parts put together in this process, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ckpt.paths import StatePaths
from ckptd.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeper import Keeper
from ckptd.marking import Marking
from ckptd.roots import Roots
from ckptd.scanner import Scanner
from ckptd.service import Service
from ckptd.undo import Undo


@dataclass
class World:
    state: StatePaths
    journal: Journal
    events: Events
    catalog: Catalog
    roots: Roots
    scanner: Scanner
    keeper: Keeper
    service: Service

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events.since(None)]

    def get(self, path: str) -> dict[str, Any]:
        return self.service.get(path)

    def post(self, path: str, /, **body: Any) -> dict[str, Any]:
        return self.service.post(path, body)


def build() -> World:
    state = StatePaths.here()
    state.directory.mkdir(parents=True, exist_ok=True)
    journal = Journal(state.journal)
    events = Events(journal)
    catalog = Catalog(state.catalog)
    catalog.load()
    roots = Roots(state.roots)
    roots.load(())
    scanner = Scanner(roots, catalog, events, state)
    keeper = Keeper(catalog, scanner, events, journal)
    marking = Marking(scanner, events, journal, state)
    undo = Undo(catalog, journal, keeper, marking)
    service = Service(catalog, roots, scanner, keeper, marking, undo, events, daemon=lambda: {"pid": 1})
    return World(state, journal, events, catalog, roots, scanner, keeper, service)


@pytest.fixture
def make_world(own_places: object) -> Iterator[Callable[[], World]]:
    """Builds a world over this test's state directory; a second one is a restart."""
    made: list[World] = []

    def make() -> World:
        made.append(build())
        return made[-1]

    yield make
    for world in made:
        world.journal.close()


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    return make_world()
