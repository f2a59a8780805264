"""Distributed tensors as one rank pickles them: the elements that the rank itself held."""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.values import Opaque, Tensor

_MAX_SHARDS = 64


def local_part(state: Any) -> Tensor | list[Tensor] | None:
    """The rank's own tensor in the state of a distributed one; a list where it held several pieces, None for no such.

    A DTensor keeps it under a name, among its attributes or its slots; a ShardedTensor has a list of shards first.
    """
    parts = state if type(state) is tuple else (state,)
    for part in parts[:2]:
        held = part.get("_local_tensor") if type(part) is dict else None
        if type(held) is Tensor:
            return held
    shards = parts[0] if parts and type(parts[0]) is list else []
    tensors = [shard.attributes().get("tensor") for shard in shards[:_MAX_SHARDS] if type(shard) is Opaque]
    found = [tensor for tensor in tensors if type(tensor) is Tensor]
    if not found or len(found) != len(shards):
        return None
    return found if len(found) > 1 else found[0]
