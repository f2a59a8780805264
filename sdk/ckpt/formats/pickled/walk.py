"""Goes through a tree of values and names what it finds by its path.

The tree may be a graph built to be endless: every container is entered freely once, again only while a budget
lasts, never inside itself, and never deeper than a bound. No recursion. Empty containers and sets are leaves; the
class of an object is a leaf of it named `__class__`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from ckpt.formats.pickled.values import Opaque

MAX_DEPTH = 200
REVISITS = 100_000
_MAX_KEY = 400
_MAX_NAME = 2000
_CONTAINERS = frozenset({dict, list, tuple, Opaque})
_TRANSPARENT = frozenset({"_parameters", "_buffers", "_modules"})
"""Attributes of a torch module that its own tensor names leave out."""


class Omissions:
    """What a walk left out, for the report on the file."""

    def __init__(self) -> None:
        self.reasons: dict[str, None] = {}

    def add(self, reason: str) -> None:
        """Remembers a reason, once."""
        self.reasons[reason] = None


def walk(top: Any, omissions: Omissions | None = None) -> Iterator[tuple[str, Any]]:
    """Name and value of every leaf, in the order of the file; the name of `top` itself is "".

    Names are the keys and indices on the way, joined by dots.
    """
    if type(top) not in _CONTAINERS:
        yield "", top
        return
    omitted = omissions if omissions is not None else Omissions()
    seen = {id(top)}
    inside = {id(top)}
    left = REVISITS
    levels: list[tuple[str, Iterator[tuple[Any, Any]], int]] = [("", _children(top), id(top))]
    while levels:
        prefix, children, identity = levels[-1]
        for key, value in children:
            name = prefix + key if type(key) is str and len(key) <= _MAX_KEY else prefix + _short(key)
            if type(value) not in _CONTAINERS:
                yield name, value
                continue
            address = id(value)
            if address in inside or (left < 0 and address in seen):
                continue
            length = _length(value)
            if not length:
                yield name, value
                continue
            if address in seen:
                left -= 1 + length
                if left < 0:
                    omitted.add("values that stand in more places than are followed")
                    continue
            if len(levels) >= MAX_DEPTH:
                omitted.add(f"values nested deeper than {MAX_DEPTH} levels")
                continue
            if len(name) > _MAX_NAME:
                omitted.add(f"values whose names have more than {_MAX_NAME} letters")
                continue
            seen.add(address)
            inside.add(address)
            transparent = key in _TRANSPARENT and type(value) is dict if type(key) is str else False
            levels.append((prefix if transparent else name + ".", _children(value), address))
            break
        else:
            levels.pop()
            inside.discard(identity)


def _short(key: Any) -> str:
    text = key if type(key) is str else str(key)
    return text if len(text) <= _MAX_KEY else text[:_MAX_KEY] + "…"


def _length(value: Any) -> int:
    if type(value) is Opaque:
        return 1 + len(value.args) + len(value.items) + len(value.pairs) + len(value.attributes())
    return len(value)


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if type(value) is dict:
        return iter(value.items())
    if type(value) is Opaque:
        attributes = value.attributes()
        state = [] if attributes or value.state is None else [("state", value.state)]
        return chain(
            [("__class__", value.path)],
            _numbered(value.args, "args."),
            state,
            attributes.items(),
            value.pairs.items(),
            _numbered(value.items),
        )
    return _numbered(value)


def _numbered(items: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    return ((f"{prefix}{index}", item) for index, item in enumerate(items))
