"""The weights of a model in a directory: one file, or shards that an index lists."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.huggingface.names import SHARD, SINGLE, is_split
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Damaged, Unfinished

_USUAL = ("model.", "pytorch_model.")
_MAX_SHARDS = 10_000


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the weights lie: `index` and its shards, or with `index` "" single `files`; names in the folder."""

    files: tuple[str, ...]
    index: str = ""


def find(names: Collection[str], prefix: str = "") -> tuple[Weights, ...]:
    """Every set of weights directly below `prefix`, a name that ends in a slash or "", in the order of preference.

    Shards without an index belong to one that is still to be written: it is named all the same.
    """
    here = sorted(name[len(prefix) :] for name in names if name.startswith(prefix))
    here = [name for name in here if "/" not in name]
    sets: dict[str, Weights] = {}
    for name in SINGLE:
        if name in here:
            sets[name] = Weights((prefix + name,))
    for name in here:
        shard = SHARD.fullmatch(name)
        index = f"{shard[1]}.{shard[3]}.index.json" if shard is not None else name if is_split(name) else ""
        if index:
            known = sets.get(index, Weights((), prefix + index))
            added = (prefix + name,) if shard is not None else ()
            sets[index] = Weights(known.files + added, known.index)
    return tuple(sets[key] for key in sorted(sets, key=lambda key: (key not in SINGLE, not key.startswith(_USUAL))))


def preferred(gathering: Gathering, prefix: str = "") -> dict[str, Any]:
    """The tensors of the first set directly below `prefix`; {} where there is none. The others are proved as well.

    A model that lies there in two formats is one model. Raises Unfinished and Damaged when a set is not whole.
    """
    found = [read(gathering, weights) for weights in find(gathering.folder.files, prefix)]
    return next((tensors for tensors in found if tensors), {})


def read(gathering: Gathering, weights: Weights) -> dict[str, Any]:
    """The tensors by their names. Raises Unfinished and Damaged when they are not all there."""
    folder = gathering.folder
    if not weights.index:
        return _tensors(gathering, weights.files)
    places = _map(folder, weights.index)
    files = sorted(set(places.values()))
    if len(files) > _MAX_SHARDS:
        raise Damaged(f"{weights.index} lists more than {_MAX_SHARDS} files")
    by_file = {name: _tensors(gathering, (name,)) for name in files}
    for tensor, name in places.items():
        if tensor not in by_file[name] and not gathering.omitted:
            raise Damaged(f"{name} does not hold {tensor[:200]!r}, which {weights.index} has it hold")
    return {tensor: value for found in by_file.values() for tensor, value in found.items()}


def _tensors(gathering: Gathering, names: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        found.update(mapping_of(gathering.tree(name)) or {})
    return found


def _map(folder: Folder, index: str) -> dict[str, str]:
    if index not in folder.files:
        raise Unfinished(f"{index} is missing")
    value = folder.json(index)
    places = value.get("weight_map") if type(value) is dict else None
    if type(places) is not dict or not places or not all(type(name) is str for name in places.values()):
        raise Damaged(f"{index} does not say which file holds which tensor")
    prefix = index[: index.rfind("/") + 1]
    for name in set(places.values()):
        if prefix + name not in folder.files:
            raise Unfinished(f"{prefix}{name} is missing, which {index} lists"[:400])
    return {tensor: prefix + name for tensor, name in places.items()}
