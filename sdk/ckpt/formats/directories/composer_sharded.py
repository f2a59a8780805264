"""Sharded checkpoints of Composer: `ep<epoch>-ba<batch>/`, the whole state in one distributed checkpoint."""

from __future__ import annotations

from typing import ClassVar

from ckpt.formats.directories.dcp.checkpoint import Dcp


class ComposerSharded(Dcp):
    """A directory of one such checkpoint."""

    framework: ClassVar[str] = "composer"
