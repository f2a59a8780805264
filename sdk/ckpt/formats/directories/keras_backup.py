"""The backup of a training that Keras' BackupAndRestore keeps: the newest weights and how far they are."""

from __future__ import annotations

from typing import ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import required
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.names import KERAS_WEIGHTS

_POSITION = "training_metadata.json"


class KerasBackup(Kind):
    """One directory that is written over at every save; the position is written last."""

    framework: ClassVar[str] = "keras"

    def prove(self) -> None:
        """Whole when weights and position are, and the weights are sound."""
        required(self.folder, KERAS_WEIGHTS, _POSITION)
        Gathering(self.folder).mapping(_POSITION)
        Gathering(self.folder).tree(KERAS_WEIGHTS)

    def read(self) -> Contents:
        """Weights and optimizer, both in the one file of a model in training; the epoch that it goes on with."""
        gathering = Gathering(self.folder)
        weights = gathering.tree(KERAS_WEIGHTS)
        position = gathering.mapping(_POSITION)
        found = told({"model": weights, "optimizer": weights, "epoch": position.get("epoch")}, self.framework)
        return Contents(found, weights, gathering.unknown_globals, gathering.omitted)
