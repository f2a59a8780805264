"""Weights of a model as a directory of their own: shards with an index, or one file with the model's configuration."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar

from ckpt.formats.directories import shards
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.gathering import Gathering
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.told import told
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.source import Unfinished
from ckpt.formats.suffixes import may_be_file

_CONFIG = "config.json"
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_ARGUMENTS = "training_args.bin"
_CHECKPOINTS = re.compile(r"(?:checkpoint|ckpt|step|global_?step|epoch|iter)s?(?:[-_=]?\d+)?", re.IGNORECASE)
_OF_TRANSFORMERS = ("model_type", "architectures", "transformers_version", "_name_or_path")


class Sharded(Kind):
    """A model's weights and nothing of its training. Whole when all files that its index lists are."""

    framework: ClassVar[str] = "safetensors"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._weights: dict[str, Any] = {}

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        weights = {file for file in files if shards.is_weights(file)}
        whole = any(file not in _SINGLE for file in weights) or (bool(weights) and _CONFIG in files)
        # Where a training's own checkpoints lie beside or below, the directory is the training's.
        others = any(may_be_file(file) and file not in weights and file != _ARGUMENTS for file in files)
        return whole and not others and not any(_CHECKPOINTS.fullmatch(directory) for directory in directories)

    def prove(self) -> None:
        for weights in shards.find(self.folder.files):
            for tensor, value in shards.read(self._gathering, weights).items():
                self._weights.setdefault(tensor, value)
        if not self._weights and not self._gathering.omitted:
            raise Unfinished("it holds no weights")

    def read(self) -> Contents:
        config = self._gathering.mapping(_CONFIG) if _CONFIG in self.folder.files else {}
        # What a trainer's state file says here is of the training's end; these weights may be of another moment.
        found = told(self._weights, self._framework(config))
        found.config = Plain(Scalars()).mapping(config)
        return Contents(found, self._weights, self._gathering.unknown_globals, self._gathering.omitted)

    def _framework(self, config: dict[str, Any]) -> str:
        if any(key in config for key in _OF_TRANSFORMERS):
            return "transformers"
        safe = any(name.endswith(".safetensors") for name in self.folder.files)
        return "safetensors" if safe else "torch"
