"""A daemon's parts put together in this process, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ckpt.paths import StatePaths
from ckptd import parts
from ckptd.parts import Parts
from ckptd.serving.service import Service


@dataclass
class World:
    state: StatePaths
    parts: Parts
    service: Service

    def __getattr__(self, name: str) -> Any:
        return getattr(self.parts, name)

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events.since(None)]

    def get(self, path: str) -> dict[str, Any]:
        return self.service.get(path)

    def post(self, path: str, /, **body: Any) -> dict[str, Any]:
        return self.service.post(path, body)


def build() -> World:
    state = StatePaths.here()
    state.directory.mkdir(parents=True, exist_ok=True)
    made = parts.writing(state)
    made.catalog.load()
    made.roots.load(())
    return World(state, made, made.service(lambda: {"pid": 1}))


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
