"""Checkpoints of NeMo 2: weights as Megatron's distributed checkpoints, and the context to build the model again."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import ClassVar

from ckpt.formats.directories.common import beside
from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.megatron.distributed import Distributed
from ckpt.formats.source import Unfinished

_NAME = re.compile(r"(?:^|-)(?:consumed_samples|step)=\d")
_WEIGHTS = "weights"
_CONTEXT = "context"
_UNFINISHED = "-unfinished"


class NeMo(Kind):
    """A directory with weights and context; step, samples and the monitored metric stand in its name."""

    framework: ClassVar[str] = "nemo"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._weights = Distributed(self._gathering, f"{_WEIGHTS}/")

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        """By its weights under a name with step or samples, or by both parts under the last one's name."""
        del files
        if _WEIGHTS not in directories:
            return False
        return _NAME.search(name) is not None or (_CONTEXT in directories and name.endswith("-last"))

    def prove(self) -> None:
        """Whole when no marker next to it says otherwise, and its weights are."""
        marker = self.folder.name.removesuffix("-EMA") + _UNFINISHED
        if beside.exists(self.folder.path, marker):
            raise Unfinished(f"it is being written or removed: {marker} stands next to it")
        self._weights.prove()

    def read(self) -> Contents:
        """What all ranks share and the tensors; the name tells the metric."""
        top = self._weights.tree()
        found = told(top, self.framework, self._weights.topology, self._weights.ranks)
        return Contents(found, top, self._gathering.unknown_globals, self._gathering.omitted)
