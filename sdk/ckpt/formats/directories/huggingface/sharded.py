"""Weights of a model as a directory of their own: shards with an index, or one file with the model's configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.huggingface import shards
from ckpt.formats.directories.huggingface.names import CONFIG
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.source import Unfinished

_OF_TRANSFORMERS = ("model_type", "architectures", "transformers_version", "_name_or_path")


class Sharded(Kind):
    """A model's weights and nothing of its training. Whole when all files that its index lists are."""

    framework: ClassVar[str] = "safetensors"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._weights: dict[str, Any] = {}

    def prove(self) -> None:
        self._weights = shards.preferred(self._gathering)
        if not self._weights and not self._gathering.omitted:
            raise Unfinished("it holds no weights")

    def read(self) -> Contents:
        config = self._gathering.mapping(CONFIG) if CONFIG in self.folder.files else {}
        # What a trainer's state file says here is of the training's end; these weights may be of another moment.
        found = told(self._weights, saved_by(config, self.folder.files))
        found.config = Plain(Scalars()).mapping(config)
        return Contents(found, self._weights, self._gathering.unknown_globals, self._gathering.omitted)


def saved_by(config: Mapping[str, Any], files: Iterable[str]) -> str:
    """The framework that saved a model with that configuration in a directory of these files."""
    if any(key in config for key in _OF_TRANSFORMERS):
        return "transformers"
    return "safetensors" if any(name.endswith(".safetensors") for name in files) else "torch"
