"""Sharded checkpoints of Composer: `ep<epoch>-ba<batch>/`, the whole state in one distributed checkpoint."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import ClassVar

from ckpt.formats.directories.dcp.checkpoint import Dcp, looks_like

_NAME = re.compile(r"ep\d{1,9}-ba\d{1,12}")


class ComposerSharded(Dcp):
    """A directory of one such checkpoint."""

    framework: ClassVar[str] = "composer"

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        return _NAME.fullmatch(name) is not None and looks_like(files)
