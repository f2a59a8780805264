"""Checkpoints of NeMo 2: weights as Megatron's distributed checkpoints, and the context to build the model again."""

from __future__ import annotations

from typing import ClassVar

from ckpt.formats.directories.common import beside
from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.megatron.distributed import Distributed
from ckpt.formats.directories.names import NEMO_UNFINISHED, NEMO_WEIGHTS
from ckpt.formats.source import Unfinished


class NeMo(Kind):
    """A directory with weights and context; step, samples and the monitored metric stand in its name."""

    framework: ClassVar[str] = "nemo"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._weights = Distributed(self._gathering, f"{NEMO_WEIGHTS}/")

    def prove(self) -> None:
        """Whole when no marker next to it says otherwise, and its weights are."""
        marker = self.folder.name.removesuffix("-EMA") + NEMO_UNFINISHED
        if beside.exists(self.folder.path, marker):
            raise Unfinished(f"it is being written or removed: {marker} stands next to it")
        self._weights.prove()

    def read(self) -> Contents:
        """What all ranks share and the tensors; the name tells the metric."""
        top = self._weights.tree()
        found = told(top, self.framework, self._weights.topology, self._weights.ranks)
        return Contents(found, top, self._gathering.unknown_globals, self._gathering.omitted)
