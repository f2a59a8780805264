"""What every walk through nested state has in common: how deep it may go, and which default dictionaries have names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ckpt.exceptions import StateError

DEEPEST = 100  # levels; JSON readers have limits of their own
FACTORIES: dict[str, Callable[[], Any]] = {"dict": dict, "list": list, "int": int, "float": float, "set": set}
"""Factories of a `defaultdict` that can be stored, by name; no factory is stored as None."""


class Nesting:
    """The containers that a walk is inside of."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    @contextlib.contextmanager
    def inside(self, value: Any, where: str, depth: int) -> Iterator[None]:
        """Enters a container. Raises StateError for one that is too deep or contains itself."""
        if depth > DEEPEST:
            raise StateError(f"{where} is nested deeper than {DEEPEST} levels")
        if id(value) in self._open:
            raise StateError(f"{where} contains itself", hint="store the parts without the reference back")
        self._open.add(id(value))
        try:
            yield
        finally:
            self._open.discard(id(value))


def factory_name(value: Any) -> tuple[str | None, bool]:
    """The name of a default dictionary's factory, None for none, and whether that name stands for it."""
    factory = value.default_factory
    if factory is None:
        return None, True
    name = str(getattr(factory, "__name__", ""))
    return name, FACTORIES.get(name) is factory
