"""Adapters that peft saves by themselves: `adapter_config.json` and `adapter_model.*`."""

from __future__ import annotations

from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.huggingface import shards
from ckpt.formats.directories.huggingface.names import ADAPTER, ADAPTER_CONFIG
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.source import Unfinished


class Peft(Kind):
    """One adapter without a training's states. Its weights are written first, its configuration after them."""

    framework: ClassVar[str] = "peft"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._weights: dict[str, Any] = {}
        self._config: dict[str, Any] = {}

    def prove(self) -> None:
        files = [name for name in ADAPTER if name in self.folder.files]
        if not files:
            raise Unfinished(f"{ADAPTER[0]} is missing")
        if ADAPTER_CONFIG not in self.folder.files:
            raise Unfinished(f"{ADAPTER_CONFIG} is missing")
        self._weights = shards.read(self._gathering, shards.Weights(tuple(files)))
        self._config = self._gathering.mapping(ADAPTER_CONFIG)

    def read(self) -> Contents:
        found = told(self._weights, self.framework)
        found.config = Plain(Scalars()).mapping(self._config)
        return Contents(found, self._weights, self._gathering.unknown_globals, self._gathering.omitted)
