"""Sharded checkpoints of Lightning and Fabric: weights and optimizers distributed, all else in `meta.pt`."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import ClassVar

from ckpt.formats.directories.dcp.checkpoint import Dcp, looks_like, told_of
from ckpt.formats.directories.kind import Contents
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Damaged

META = "meta.pt"
_NAME = re.compile(r"(?:.*(?:epoch|step)=\d.*|last(?:-v\d+)?)\.ckpt")  # what the Trainer calls them by itself


class LightningSharded(Dcp):
    """A directory of one such checkpoint. `meta.pt` is written last, when all ranks are done."""

    framework: ClassVar[str] = "lightning"

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        return looks_like(files) and (META in files or _NAME.fullmatch(name) is not None)

    def prove(self) -> None:
        super().prove()
        self.folder.open(META)

    def read(self) -> Contents:
        content = self.folder.open(META).content
        rest = mapping_of(content.top)
        if rest is None:
            raise Damaged(f"{META} holds no mapping")
        top = {**rest, **self.reader.tree()}
        unknown = self.reader.unknown_globals.union(content.unknown_globals)
        return Contents(told_of(top, self.framework, self.reader), top, unknown, self.reader.omitted)

    def telling(self) -> tuple[str, ...]:
        return (*super().telling(), META)
