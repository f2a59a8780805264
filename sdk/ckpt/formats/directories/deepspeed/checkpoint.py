"""Checkpoints of DeepSpeed: `<save_dir>/<tag>/`, a file of model states and one of optimizer states for each rank."""

from __future__ import annotations

from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.deepspeed import parts
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind


class DeepSpeed(Kind):
    """One tag. Whole when there are as many files as its first rank says there were ranks."""

    framework: ClassVar[str] = "deepspeed"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._parts = parts.Parts()

    def prove(self) -> None:
        self._parts = parts.read(self._gathering)

    def read(self) -> Contents:
        parts = self._parts
        top: dict[Any, Any] = {
            **parts.state,
            "model": parts.model,
            "optimizer": parts.optimizer,
            "lr_scheduler": parts.scheduler,
        }
        found = told(top, self.framework)
        found.learning_rate = parts.learning_rate()
        return Contents(found, top, self._gathering.unknown_globals, self._gathering.omitted)
