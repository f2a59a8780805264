"""Megatron's distributed checkpoints: what all ranks share in one file, and sharded tensors beside it."""

from __future__ import annotations

from typing import Any

from ckpt.formats.directories.gathering import Gathering
from ckpt.formats.directories.members import mapping, required
from ckpt.formats.source import Damaged

SETTINGS = "metadata.json"
COMMON = "common.pt"
SHARDS = ".metadata"


def prove(gathering: Gathering, base: str) -> None:
    """Proves that the part of a folder that begins with `base` is whole: its settings are written last."""
    required(gathering.folder, base + SETTINGS, base + COMMON)
    settings = gathering.mapping(base + SETTINGS)
    if type(settings.get("sharded_backend")) is not str:
        raise Damaged(f"{base}{SETTINGS} names no backend")
    mapping(gathering, base + COMMON)
    if settings["sharded_backend"] in ("torch_dist", "torch_dcp"):
        required(gathering.folder, base + SHARDS)


def tree(gathering: Gathering, base: str) -> dict[Any, Any]:
    """What all ranks share."""
    return dict(mapping(gathering, base + COMMON))
