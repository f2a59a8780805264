"""Checkpoints of NeMo 2: weights as Megatron's distributed checkpoints, and the context to build the model again."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import ClassVar

from ckpt.formats.directories import beside, megatron_dist
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.gathering import Gathering
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.told import told
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

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        """By its two parts and a name that ends as NeMo's do, or by the weights under a name with step or samples."""
        del files
        if _WEIGHTS not in directories:
            return False
        return _NAME.search(name) is not None or (_CONTEXT in directories and name.endswith("-last"))

    def prove(self) -> None:
        """Whole when no marker next to it says otherwise, and its weights are."""
        marker = self.folder.name.removesuffix("-EMA") + _UNFINISHED
        if beside.exists(self.folder.path, marker):
            raise Unfinished(f"it is being written or removed: {marker} stands next to it")
        megatron_dist.prove(self._gathering, f"{_WEIGHTS}/")

    def read(self) -> Contents:
        """What all ranks share; the name tells the rest."""
        gathering = self._gathering
        top = megatron_dist.tree(gathering, f"{_WEIGHTS}/")
        return Contents(told(top, self.framework), top, gathering.unknown_globals, gathering.omitted)
