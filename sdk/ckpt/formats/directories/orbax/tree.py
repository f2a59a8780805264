"""One tree of arrays that Orbax saved: the names that it was saved with, around the arrays in its store."""

from __future__ import annotations

from typing import Any

from ckpt.formats.directories.common.members import required
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.orbax.arrays import Arrays
from ckpt.formats.directories.orbax.database import Value, values
from ckpt.formats.directories.orbax.names import DATABASE, NAMES
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import Tensor
from ckpt.formats.source import Damaged, TooLarge, Unfinished

_STRINGS = "_strings.json"
_SHARDING = "_sharding"
_MAX_KEYS = 64


class Tree:
    """The tree in the part of the folder that begins with `base` ("" or a name with its slash).

    `top` is nested mappings of tensors, numbers and texts. Raises Unfinished when an array is missing, Damaged,
    TooLarge.
    """

    def __init__(self, folder: Folder, base: str) -> None:
        self._folder = folder
        self._base = base
        if base + _SHARDING in folder.files:  # came after the names, so those are missing and not older than they are
            required(folder, base + NAMES)
        described = folder.json(base + NAMES) if base + NAMES in folder.files else None
        found = Arrays(folder, self._store(described))
        self.omitted = [f"arrays of the dtype {dtype}" for dtype in sorted(found.unnamed)]
        if described is None:
            self.top = _nested([(tuple(name.split(".")), tensor) for name, tensor in found.tensors.items()])
            return
        paths = _paths(described)
        texts = folder.json(base + _STRINGS) if any(kind == "string" for _, kind in paths) else {}
        leaves: list[tuple[tuple[str, ...], Any]] = []
        for path, kind in paths:
            name = ".".join(path)
            if name in found.tensors:
                leaves.append((path, _number(found.tensors[name]) if kind == "scalar" else found.tensors[name]))
            elif kind == "string":
                text = texts.get(name) if type(texts) is dict else None
                leaves.append((path, text if type(text) is str else None))
            elif kind in ("jax.Array", "np.ndarray", "scalar") and not found.unnamed:
                raise Unfinished(f"the array {name!r} is not in its store")
        self.top = _nested(leaves)

    def _store(self, described: Any) -> dict[str, Value]:
        in_database = type(described) is dict and described.get("use_ocdbt") is True
        if in_database or self._base + DATABASE in self._folder.files:
            return values(self._folder, self._base)
        length = len(self._base)
        return {
            name[length:]: Value(name, 0, member.info.st_size)
            for name, member in self._folder.files.items()
            if name.startswith(self._base) and name.count("/", length) == 1
        }


def _paths(described: Any) -> list[tuple[tuple[str, ...], str]]:
    """Keys on the way to each leaf, and what it was."""
    leaves = described.get("tree_metadata") if type(described) is dict else None
    if type(leaves) is not dict:
        raise Damaged(f"{NAMES} describes no tree")
    found: list[tuple[tuple[str, ...], str]] = []
    for leaf in leaves.values():
        steps = leaf.get("key_metadata") if type(leaf) is dict else None
        value = leaf.get("value_metadata") if type(leaf) is dict else None
        if type(steps) is not list or type(value) is not dict:
            raise Damaged(f"{NAMES} has a leaf without a name")
        if len(steps) > _MAX_KEYS:
            raise TooLarge(f"its tree is deeper than {_MAX_KEYS} levels")
        if value.get("skip_deserialize") is not True:
            keys = tuple(str(step.get("key")) for step in steps if type(step) is dict)
            found.append((keys, str(value.get("value_type"))))
    return found


def _number(tensor: Tensor) -> Any:
    """A plain number that was saved as an array; the array where it cannot be read as one."""
    number = Scalars().number(tensor)
    return tensor if number is None else number


def _nested(leaves: list[tuple[tuple[str, ...], Any]]) -> Any:
    top: dict[str, Any] = {}
    for path, value in leaves:
        if not path:
            return value
        inner = top
        for key in path[:-1]:
            below = inner.setdefault(key, {})
            if type(below) is not dict:
                raise Damaged("its tree has something below a leaf")
            inner = below
        inner[path[-1]] = value
    return top
