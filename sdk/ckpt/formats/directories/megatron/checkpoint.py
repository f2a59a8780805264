"""Checkpoints of Megatron-LM: one iteration, as a file for each rank or as one distributed checkpoint."""

from __future__ import annotations

from typing import ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.megatron import rank_files
from ckpt.formats.directories.megatron.distributed import Distributed
from ckpt.formats.directories.megatron.names import ITERATION, ranks_in


class Megatron(Kind):
    """A directory `iter_0000100` or `release`; a distributed one also under another name."""

    framework: ClassVar[str] = "megatron"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        by_rank = bool(ranks_in(folder.directories))
        self._distributed = None if by_rank else Distributed(self._gathering)

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
        named = ITERATION.fullmatch(self.folder.name)
        if found.step is None and named is not None and named[1]:
            found.step = int(named[1])
        return Contents(found, top, self._gathering.unknown_globals, self._gathering.omitted)
