"""Checkpoints of Megatron-LM: one iteration, as a file for each rank or as one distributed checkpoint."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.dcp.reader import DATA, METADATA
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.megatron import rank_files
from ckpt.formats.directories.megatron.distributed import COMMON, SETTINGS, Distributed

_NAME = re.compile(r"(?:iter_(\d{7,12})|release)")


class Megatron(Kind):
    """A directory `iter_0000100` or `release`; a distributed one also under another name."""

    framework: ClassVar[str] = "megatron"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        by_rank = bool(rank_files.ranks_in(folder.directories))
        self._distributed = None if by_rank else Distributed(self._gathering)

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        """By its settings beside what is common, or, under its name, by whatever is written first."""
        if {SETTINGS, COMMON, METADATA} <= files:
            return True
        if _NAME.fullmatch(name) is None:
            return False
        shards = COMMON in files or METADATA in files or any(DATA.fullmatch(file) for file in files)
        return shards or bool(rank_files.ranks_in(directories))

    def prove(self) -> None:
        """Whole when every rank is there, or, of a distributed one, when its settings are, which are written last."""
        if self._distributed is not None:
            self._distributed.prove()
        else:
            rank_files.prove(self._gathering)

    def read(self) -> Contents:
        """Arguments, iteration, states and generators, of all ranks."""
        if self._distributed is not None:
            top = self._distributed.tree()
            topology, ranks = self._distributed.topology, self._distributed.ranks
        else:
            top = rank_files.tree(self._gathering)
            generators = top.get("rng_state")
            topology, ranks = {}, len(generators) if isinstance(generators, list) else 0
        found = told(top, self.framework, topology, ranks)
        named = _NAME.fullmatch(self.folder.name)
        if found.step is None and named is not None and named[1]:
            found.step = int(named[1])
        return Contents(found, top, self._gathering.unknown_globals, self._gathering.omitted)
