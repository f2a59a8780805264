"""Sharded checkpoints of Lightning and Fabric: weights and optimizers distributed, all else in `meta.pt`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ckpt.formats.directories.dcp.checkpoint import Dcp, told_of
from ckpt.formats.directories.kind import Contents
from ckpt.formats.directories.names import LIGHTNING_META
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Damaged


class LightningSharded(Dcp):
    """A directory of one such checkpoint. `meta.pt` is written last, when all ranks are done."""

    framework: ClassVar[str] = "lightning"

    def prove(self) -> None:
        super().prove()
        self.folder.open(LIGHTNING_META)

    def read(self) -> Contents:
        content = self.folder.open(LIGHTNING_META).content
        rest = mapping_of(content.top)
        if rest is None:
            raise Damaged(f"{LIGHTNING_META} holds no mapping")
        top = {**rest, **self.reader.tree()}
        unknown = self.reader.unknown_globals.union(content.unknown_globals)
        return Contents(told_of(top, self.framework, self.reader), top, unknown, self.reader.omitted)

    def telling(self, names: Sequence[str]) -> Sequence[str]:
        return (*super().telling(names), LIGHTNING_META)
