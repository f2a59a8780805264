"""Engines that put directories of their own into a checkpoint of transformers or accelerate: DeepSpeed and FSDP."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ckpt.formats.directories.common.gathering import Gathering, numbered
from ckpt.formats.directories.dcp.reader import DcpReader
from ckpt.formats.directories.deepspeed import parts as deepspeed_parts
from ckpt.formats.directories.deepspeed.names import is_member
from ckpt.formats.directories.huggingface.names import DEEPSPEED_TAG, FSDP
from ckpt.formats.pickled.values import mapping_of

_FSDP_RANKS = {
    "model": re.compile(r"pytorch_model_fsdp(?:_0)?_rank(\d{1,6})\.bin"),
    "optimizer": re.compile(r"optimizer(?:_0)?_rank(\d{1,6})\.bin"),
}
_LATEST = "latest"


@dataclass(slots=True)
class Engines:
    """What the engines have saved; {} and None where there is none."""

    model: dict[str, Any] = field(default_factory=dict)
    optimizer: Any = None
    scheduler: Any = None
    learning_rate: float | None = None
    steps: int | None = None
    """Steps of the optimizer that the engine has counted."""

    def add_to(self, top: dict[str, Any]) -> None:
        """Puts the parts into a tree that has none of its own for them."""
        for key, value in (("model", self.model), ("optimizer", self.optimizer), ("scheduler", self.scheduler)):
            if value and not top.get(key):
                top[key] = value


def find(gathering: Gathering) -> Engines:
    """Reads and proves what engines have saved below the folder. Raises Unfinished, Damaged."""
    tag = _tag(gathering)
    if tag:
        return _deepspeed(gathering, f"{tag}/")
    found = Engines()
    directories = gathering.folder.directories
    for name in numbered(directories, FSDP["model"]).values():
        found.model.update(_distributed(gathering, f"{name}/", "model"))
    for name in numbered(directories, FSDP["optimizer"]).values():
        found.optimizer = found.optimizer or _distributed(gathering, f"{name}/", "optimizer")
    for rank, name in numbered(gathering.folder.files, _FSDP_RANKS["model"]).items():
        found.model[f"rank_{rank}"] = gathering.tree(name)
    if found.optimizer is None:
        found.optimizer = gathering.trees(numbered(gathering.folder.files, _FSDP_RANKS["optimizer"]).values())
    return found


def _deepspeed(gathering: Gathering, prefix: str) -> Engines:
    parts = deepspeed_parts.read(gathering, prefix)
    counted = parts.state.get("global_steps")
    steps = counted if type(counted) is int and 0 <= counted < 1 << 63 else None
    return Engines(parts.model, parts.optimizer, parts.scheduler, parts.learning_rate(), steps)


def _distributed(gathering: Gathering, prefix: str, part: str) -> dict[str, Any]:
    """What a torch distributed checkpoint holds; accelerate saves it as a mapping with the part's name alone."""
    reader = DcpReader(gathering.folder, prefix)
    reader.prove()
    tree = reader.tree()
    gathering.unknown_globals.update(reader.unknown_globals)
    gathering.omitted += [reason for reason in reader.omitted if reason not in gathering.omitted]
    inner = mapping_of(tree.get(part)) if len(tree) == 1 else None
    return dict(inner if inner is not None else tree)


def _tag(gathering: Gathering) -> str:
    """The directory of DeepSpeed's tag: that which `latest` names, else the highest step, else any with its files."""
    folder = gathering.folder
    holding = {
        name.partition("/")[0] for name in folder.files if name.count("/") == 1 and is_member(name.partition("/")[2])
    }
    if _LATEST in folder.files:
        named = folder.text(_LATEST)
        if named in holding or DEEPSPEED_TAG.fullmatch(named):
            return named
    steps = {int(match[1]): name for name in holding if (match := DEEPSPEED_TAG.fullmatch(name)) is not None}
    return steps[max(steps)] if steps else min(holding, default="")
