"""Checkpoints of OLMo-core: `step<N>/` with a distributed checkpoint and the trainer's state of each rank."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.dcp.reader import DcpReader
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.names import OLMO_MARKER, OLMO_WEIGHTS
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Damaged, Unfinished

_CONFIG = "config.json"
_FIRST = "train/rank0.pt"
_RANK = re.compile(r"train/rank\d{1,9}\.pt")


class OlmoCore(Kind):
    """A directory of one such checkpoint. `.metadata.json` is written last, when everything else is done."""

    framework: ClassVar[str] = "olmo-core"
    format: ClassVar[str] = "dcp"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._reader = DcpReader(folder, f"{OLMO_WEIGHTS}/")

    def prove(self) -> None:
        for name in (_FIRST, OLMO_MARKER):
            if name not in self.folder.files:
                raise Unfinished(f"{name} is missing: it is being written, or its writing was cut short")
        self.folder.json(OLMO_MARKER)
        self._reader.prove()

    def read(self) -> Contents:
        content = self.folder.open(_FIRST).content
        trainer = mapping_of(content.top)
        if trainer is None:
            raise Damaged(f"{_FIRST} holds no mapping")
        tree = self._reader.tree()
        ranks = sum(_RANK.fullmatch(name) is not None for name in self.folder.files)
        found = told({**trainer, **tree}, self.framework, {"world_size": ranks}, ranks)
        if _CONFIG in self.folder.files:
            found.config = Plain(Scalars()).mapping(self.folder.json(_CONFIG))
        unknown = self._reader.unknown_globals.union(content.unknown_globals)
        return Contents(found, {**tree, "trainer_state": trainer}, unknown, self._reader.omitted)

    def telling(self, names: Sequence[str]) -> Sequence[str]:
        told = {OLMO_MARKER, _FIRST, _CONFIG}
        return [name for name in names if name in told or name.startswith(f"{OLMO_WEIGHTS}/.metadata")]
