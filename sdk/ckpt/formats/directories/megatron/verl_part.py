"""What verl saves of one model that it trains with Megatron: distributed checkpoints, one or one for each content."""

from __future__ import annotations

from typing import Any

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import merged, required
from ckpt.formats.directories.megatron.distributed import Distributed
from ckpt.formats.directories.names import VERL_CONTENTS, VERL_MANIFEST, VERL_SHARDS
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Unfinished

_MODEL = "model"
_WEIGHTS = f"{_MODEL}/huggingface"


def is_megatron(gathering: Gathering, part: str) -> bool:
    """Whether a part of the checkpoint ("" for the directory itself) is one of these, finished or not."""
    base = f"{part}/" if part else ""
    directories = gathering.folder.directories
    places = (VERL_SHARDS, *(f"{content}/{VERL_SHARDS}" for content in sorted(VERL_CONTENTS)), _WEIGHTS)
    return f"{base}{VERL_MANIFEST}" in gathering.folder.files or any(f"{base}{name}" in directories for name in places)


class MegatronPart:
    """One such part. `prove` comes first, then `tree`. Both raise Unreadable and OSError."""

    def __init__(self, gathering: Gathering, part: str) -> None:
        self._gathering = gathering
        self._base = f"{part}/" if part else ""
        files, directories = gathering.folder.files, gathering.folder.directories
        self._apart = f"{self._base}{VERL_SHARDS}" not in directories
        where = {content: f"{self._base}{content}/{VERL_SHARDS}/" for content in sorted(VERL_CONTENTS)}
        if not self._apart:
            where = {"": f"{self._base}{VERL_SHARDS}/"}
        self._shards = {
            content: Distributed(gathering, base)
            for content, base in where.items()
            if any(name.startswith(base) for name in files)
        }

    @property
    def world_size(self) -> int:
        """How many ranks trained, by the files alone; 0 where they do not tell."""
        return max((shards.topology.get("world_size", 0) for shards in self._shards.values()), default=0)

    def prove(self) -> None:
        """Proves it whole: each content by itself, and those apart by the list of contents, which is written last."""
        for shards in self._shards.values():
            shards.prove()
        for name in self._weights():
            self._gathering.tree(name)
        if self._apart:
            required(self._gathering.folder, f"{self._base}{VERL_MANIFEST}")
        elif not self._shards:
            raise Unfinished(f"{self._base}{VERL_SHARDS} is empty")

    def tree(self) -> dict[str, Any]:
        """`model`, `optimizer`, `lr_scheduler` and `rng_state`, as far as they were saved."""
        top: dict[str, Any] = {}
        for content, shards in self._shards.items():
            for key, value in shards.tree().items():
                # Megatron's optimizers may name their tensors as the model does.
                name = "optimizer" if content == "optimizer" and key == _MODEL else str(key)
                held, more = mapping_of(top.get(name)), mapping_of(value)
                top[name] = {**held, **more} if held and more else value
        if _MODEL not in top and self._weights():
            top[_MODEL] = merged(self._gathering, self._weights())
        return top

    def _weights(self) -> list[str]:
        start = f"{self._base}{_WEIGHTS}/"
        return [
            name for name in self._gathering.folder.files if name.startswith(start) and name.endswith(".safetensors")
        ]
