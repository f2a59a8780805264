"""Which tensors of a tree are the model's own weights, and how many elements they have."""

from __future__ import annotations

from typing import Any

from ckpt.formats.containers.tensors import Placed
from ckpt.formats.meanings import layouts
from ckpt.formats.meanings.roles import Role, role
from ckpt.formats.pickled.values import Opaque, Tensor, mapping_of

_MAX_PARTS = 8  # of a place or a key with dots that tensors stand under


def bare_state(top: Any) -> bool:
    """Whether the file is nothing but the weights: a mapping whose values are tensors, or a pickled module."""
    if type(top) is Opaque:
        return any(name in top.attributes() for name in ("_parameters", "_modules"))
    if not isinstance(top, dict) or not top:
        return type(top) is Tensor
    tensors = sum(type(value) is Tensor for value in top.values())
    return 2 * tensors > len(top)


def parameter_count(top: Any, tensors: list[Placed]) -> int:
    """Elements of the model's own weights; tensors that look at the same bytes count once."""
    chosen = tensors
    if not bare_state(top):
        by_role: dict[Role, list[Placed]] = {}
        kinds = _Kinds(top)
        for placed in tensors:
            by_role.setdefault(kinds.of(placed.info.name), []).append(placed)
        chosen = by_role.get("model") or by_role.get("ema") or by_role.get("other") or []
    counted: set[tuple[int, str, int, tuple[int, ...], tuple[int, ...]]] = set()
    total = 0
    for placed in chosen:
        tensor = placed.tensor
        if tensor.storage is not None:
            view = (id(tensor.storage.home), tensor.storage.key, tensor.offset, tensor.shape, tensor.stride)
            if view in counted:
                continue
            counted.add(view)
        total += placed.elements
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
