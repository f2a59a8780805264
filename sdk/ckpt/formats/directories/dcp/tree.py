"""The state that a torch distributed checkpoint was made of, put together again from its flattened names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ckpt.formats.meanings.roles import role
from ckpt.formats.pickled.values import Tensor

Path = tuple[str | int, ...]


def nested(values: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[Any, Any]:
    """One tree of the values by name. A name without a path, or whose path ends at another's value, stays whole."""
    top: dict[Any, Any] = {}
    for name, value in values.items():
        if not _put(top, paths.get(name) or _guessed(name), value):
            top[name] = value
    return _with_lists(top)


def told_apart(top: dict[Any, Any]) -> dict[Any, Any]:
    """The tree with its parts where they are looked for.

    Weights that lie beside the other parts come under `model`, and the parts of a state that was wrapped in one object
    come to the top as `wrapper.part`.
    """
    bare = {key: value for key, value in top.items() if type(value) is Tensor}
    rest = {key: value for key, value in top.items() if type(value) is not Tensor}
    if bare and rest and "model" not in rest and any(role(key) != "other" for key in rest):
        return {"model": bare, **rest}
    if len(top) == 1:
        [(wrapper, inner)] = top.items()
        if type(wrapper) is str and type(inner) is dict and role(wrapper) == "other":
            return {f"{wrapper}.{key}": value for key, value in inner.items()}
    return top


def _guessed(name: str) -> Path:
    """Of a name without a path: its first part is a key of its own where that is a known kind of state."""
    first, dot, rest = name.partition(".")
    return (first, rest) if dot and rest and role(first) != "other" else (name,)


def _put(top: dict[Any, Any], path: Path, value: Any) -> bool:
    level = top
    for key in path[:-1]:
        below = level.setdefault(key, _Level())
        if type(below) is not _Level:
            return False
        level = below
    if path[-1] in level:
        return False
    level[path[-1]] = value
    return True


class _Level(dict[Any, Any]):
    """A mapping that was made on the way to a value, and not one that is a value."""


def _with_lists(top: dict[Any, Any]) -> dict[Any, Any]:
    """The same with plain mappings, and with lists where the keys are 0, 1, 2 …; from the innermost out."""
    levels: list[dict[Any, Any]] = [top]
    for level in levels:
        levels += [value for value in level.values() if type(value) is _Level]
    made: dict[int, Any] = {}
    for level in reversed(levels):
        items = {key: made[id(value)] if type(value) is _Level else value for key, value in level.items()}
        made[id(level)] = _listed(items) if level is not top else items
    whole: dict[Any, Any] = made[id(top)]
    return whole


def _listed(items: dict[Any, Any]) -> Any:
    numbers: Iterable[Any] = items
    if all(type(key) is int for key in numbers) and set(items) == set(range(len(items))):
        return [items[index] for index in range(len(items))]
    return items
