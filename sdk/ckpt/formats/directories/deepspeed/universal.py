"""DeepSpeed's universal form of a checkpoint: a directory with the states of each parameter below `zero/`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.joined import Piece, is_flat, join
from ckpt.formats.directories.deepspeed import zero
from ckpt.formats.pickled.values import Tensor, mapping_of

_COMMON = "zero/optimizer_state.pt"
_STATE = re.compile(r"zero/(.+)/([^/]+)\.pt")
_WEIGHTS = "fp32"


def is_universal(gathering: Gathering, prefix: str) -> bool:
    """Whether the tag below `prefix` was brought into that form; the states common to all are written last."""
    return prefix + _COMMON in gathering.folder.files


def read(gathering: Gathering, prefix: str, state: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights by parameter, and the optimizer: what is common under `common`, the rest by parameter.

    `state` is a model state of the tag, which knows the shapes of the parameters. Raises Unfinished, Damaged.
    """
    weights: dict[str, Any] = {}
    optimizer: dict[str, Any] = {"common": gathering.tree(prefix + _COMMON)}
    shapes = dict(zero.shapes_of(state))
    for name in gathering.folder.files:
        found = _STATE.fullmatch(name[len(prefix) :]) if name.startswith(prefix) else None
        if found is None:
            continue
        value = gathering.tree(name)
        tensor = (mapping_of(value) or {}).get("param", value)
        shape = shapes.get(found[1])
        if shape is not None and is_flat(tensor) and math.prod(shape) == tensor.shape[0]:
            tensor = join([Piece(tensor, 0, tensor.shape[0])], shape, tensor.dtype)
        if found[2] != _WEIGHTS:
            optimizer.setdefault(found[1], {})[found[2]] = tensor
        elif type(tensor) is Tensor:
            weights[found[1]] = tensor
    return weights, optimizer
