"""Which tensors of a tree are the model's own weights, which an optimizer's, and how large they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any

from ckpt.formats.containers.tensors import Placed
from ckpt.formats.meanings import layouts
from ckpt.formats.meanings.roles import Role, role
from ckpt.formats.pickled.values import Opaque, Tensor, mapping_of

ByRole = dict[Role, list[Placed]]

_COUNTERS = frozenset({*layouts.PLAIN.epoch, *layouts.PLAIN.step})
_MAX_PARTS = 8  # of a place or a key with dots that tensors stand under


def bare_state(top: Any) -> bool:
    """Whether the file is nothing but the weights: a mapping whose values are tensors, or a pickled module."""
    if type(top) is Opaque:
        return any(name in top.attributes() for name in ("_parameters", "_modules"))
    if not isinstance(top, dict) or not top:
        return type(top) is Tensor
    tensors = sum(type(value) is Tensor for value in top.values())
    return 2 * tensors > len(top)


def by_role(top: Any, tensors: list[Placed]) -> ByRole:
    """The tensors of a tree by the kind of state that they stand in."""
    if bare_state(top):
        return {"model": tensors}
    found: ByRole = {}
    roles = _Kinds(top)
    for placed in tensors:
        found.setdefault(roles.of(placed.info.name), []).append(placed)
    return found


def parameter_count(tensors: ByRole) -> int:
    """Elements of the model's own weights; tensors that look at the same bytes count once."""
    counted: set[tuple[int, str, int, tuple[int, ...], tuple[int, ...]]] = set()
    total = 0
    for placed in _weights(tensors):
        tensor = placed.tensor
        if tensor.storage is not None:
            view = (id(tensor.storage.home), tensor.storage.key, tensor.offset, tensor.shape, tensor.stride)
            if view in counted:
                continue
            counted.add(view)
        total += placed.elements
    return total


def kinds(top: Any, tensors: ByRole, limit: int, texts: Collection[str] = ()) -> dict[str, int]:
    """Bytes of the storages of weights, averaged ones among them, and of optimizers' states, each storage once.

    Together at most `limit`, the bytes on disk: what takes more in memory was compressed, and all of it alike.
    {} where the tensors may as well be data: embeddings are called `weights` too. `texts` are the names in the header
    of a file of tensors alone.
    """
    if _may_be_data(top, tensors, texts):
        return {}
    weights = [*tensors.get("model", ()), *tensors.get("ema", ())] or _weights(tensors)
    optimizers = tensors.get("optimizer", [])
    if _is_optimizer(top):
        weights, optimizers = [], [placed for found in tensors.values() for placed in found]
    counted: set[tuple[int, str]] = set()
    found = {"weights": _stored(weights, counted), "optimizer": _stored(optimizers, counted)}
    together = sum(found.values())
    if together > limit:
        found = {name: size * limit // together for name, size in found.items()}
    return {name: size for name, size in found.items() if size}


def _weights(tensors: ByRole) -> list[Placed]:
    """The model's own tensors: where nothing is named as a model, its averages, else what has no known name."""
    return tensors.get("model") or tensors.get("ema") or tensors.get("other") or []


def _may_be_data(top: Any, tensors: ByRole, texts: Collection[str]) -> bool:
    """Whether a file of no known layout, with more than tensors in it, has neither an optimizer nor a state_dict.

    That is two tensors or more in one place, one of which has the dotted name of a parameter of a module in a module.
    """
    fields = mapping_of(top) or {}
    if type(top) is Opaque or _is_optimizer(top) or layouts.recognise(fields).framework:
        return False
    if any(role(key) == "optimizer" for key in fields):
        return False
    if all(type(value) is Tensor for value in fields.values()) and not _COUNTERS.intersection(texts):
        return False
    whole = bare_state(top)
    found: dict[str, tuple[int, bool]] = {}
    for placed in chain(tensors.get("model", ()), tensors.get("ema", ())):
        place, _, rest = ("", "", placed.info.name) if whole else placed.info.name.partition(".")
        count, has_parameter = found.get(place, (0, False))
        found[place] = count, has_parameter = count + 1, has_parameter or _is_parameter(rest)
        if count > 1 and has_parameter:
            return False
    return True


def _is_parameter(name: str) -> bool:
    """Whether a name is that of a parameter of a module in a module; numbers alone are places in lists."""
    return "." in name and not name.replace(".", "").isdecimal()


def _is_optimizer(top: Any) -> bool:
    """Whether the file is nothing but an optimizer's state, or a list of them."""
    if type(top) in (list, tuple) and top:
        top = top[0]
    return {"state", "param_groups"} <= (mapping_of(top) or {}).keys()


def _stored(tensors: Sequence[Placed], counted: set[tuple[int, str]]) -> int:
    """Bytes of the storages that some tensors look at, without those that were counted already."""
    total = 0
    for placed in tensors:
        storage = placed.tensor.storage
        if storage is None:
            total += placed.info.bytes
            continue
        if not storage.parts:
            place = (id(storage.home), storage.key)
            if place not in counted:
                counted.add(place)
                total += placed.stored
            continue
        for part in storage.parts:
            place = (id(part.home), part.key)
            if part.home is not None and place not in counted:
                counted.add(place)
                total += part.home.stored_bytes(part) or 0
    return total


class _Kinds:
    """Roles of tensors by the place that they stand under: that of the layout, or the key at the top of the file."""

    def __init__(self, top: Any) -> None:
        fields = mapping_of(top) or {}
        given = layouts.recognise(fields).states
        self._known: dict[str, Role] = {str(key): given.get(key) or role(key) for key in fields}
        self._deep = {place: kind for place, kind in given.items() if "." in place}
        self._dotted = {**{key: kind for key, kind in self._known.items() if "." in key}, **self._deep}
        self._branching = {key.partition(".")[0] for key in self._dotted}

    def of(self, name: str) -> Role:
        """The role of a tensor by its dotted name."""
        first = name.partition(".")[0]
        if first in self._branching:
            parts = name.split(".", _MAX_PARTS)[:_MAX_PARTS]
            for length in range(len(parts), 1, -1):
                found = self._dotted.get(".".join(parts[:length]))
                if found is not None:
                    return found
        return self._known.get(first, "other")
