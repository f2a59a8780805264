"""Engines that put their own directories into a checkpoint of transformers or accelerate: DeepSpeed and FSDP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt.formats.directories import deepspeed_files, deepspeed_parts
from ckpt.formats.directories.gathering import Gathering

_TAG = re.compile(r"global_step(\d{1,12})")
_FSDP_MODEL = re.compile(r"pytorch_model_fsdp_(\d{1,6})")
_FSDP_OPTIMIZER = re.compile(r"optimizer_(\d{1,6})")
_LATEST = "latest"


@dataclass(slots=True)
class Engines:
    """What the engines have saved; {} and None where there are none."""

    model: dict[str, Any] = field(default_factory=dict)
    optimizer: Any = None
    scheduler: Any = None
    state: Mapping[Any, Any] = field(default_factory=dict)

    @property
    def has_model(self) -> bool:
        """Whether the weights are with an engine."""
        return bool(self.model)

    def add_to(self, top: dict[str, Any]) -> None:
        """Puts the parts into a tree that has none of its own for them."""
        for key, value in (("model", self.model), ("optimizer", self.optimizer), ("scheduler", self.scheduler)):
            if value and not top.get(key):
                top[key] = value


def is_engine(directory: str) -> bool:
    """Whether a directory of that name in a checkpoint is an engine's."""
    return any(pattern.fullmatch(directory) for pattern in (_TAG, _FSDP_MODEL, _FSDP_OPTIMIZER))


def find(gathering: Gathering) -> Engines:
    """Reads and proves what engines have saved below the folder. Raises Unfinished, Damaged."""
    found = Engines()
    tag = _tag(gathering)
    if tag:
        parts = deepspeed_parts.read(gathering, f"{tag}/")
        found = Engines(parts.model, parts.optimizer, parts.scheduler, parts.state)
    return found


def _tag(gathering: Gathering) -> str:
    """The directory of DeepSpeed's tag: that which `latest` names, else the highest step, else any with its files."""
    folder = gathering.folder
    holding = {
        name.partition("/")[0]
        for name in folder.files
        if name.count("/") == 1 and deepspeed_files.is_member(name.partition("/")[2])
    }
    if _LATEST in folder.files:
        named = folder.text(_LATEST)
        if named in holding or _TAG.fullmatch(named):
            return named
    steps = {int(match[1]): name for name in holding if (match := _TAG.fullmatch(name)) is not None}
    return steps[max(steps)] if steps else min(holding, default="")


def steps(state: Mapping[Any, Any]) -> int | None:
    """The optimizer steps that DeepSpeed has counted; None where it says none."""
    counted = state.get("global_steps")
    return counted if type(counted) is int and 0 <= counted < 1 << 63 else None
