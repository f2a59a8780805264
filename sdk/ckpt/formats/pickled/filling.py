"""Items that a pickle puts into a container after it was made."""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.keys import key
from ckpt.formats.pickled.values import Budget, Opaque, SetOf
from ckpt.formats.source import Damaged


def put_items(target: Any, items: list[Any], budget: Budget) -> None:
    """Keys and values in turn, into a mapping or an opaque object. Raises Damaged when the target takes none."""
    budget.left -= len(items) >> 1
    kind = type(target)
    into = target if kind is dict else target.pairs if kind is Opaque else None
    if into is None or len(items) % 2:
        raise Damaged("its pickle sets items of what has none")
    for index in range(0, len(items), 2):
        name = items[index]
        if type(name) is not str:
            name = key(name)
            budget.left -= len(name) >> 5 if type(name) is str else 0
        into[name] = items[index + 1]


def add_items(target: Any, items: list[Any]) -> None:
    """Items, to a list, a set or an opaque object. Raises Damaged when the target takes none."""
    kind = type(target)
    if kind is list:
        target.extend(items)
    elif kind is Opaque or kind is SetOf:
        target.items.extend(items)
    else:
        raise Damaged("its pickle appends to what is no list")
