"""Checkpoints of Megatron-LM: one iteration, as a file for each rank or as one distributed checkpoint."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import ClassVar

from ckpt.formats.directories import megatron_dist, megatron_ranks
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.gathering import Gathering
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.told import told

_NAME = re.compile(r"^(?:iter_(\d{7,12})|release)$")


class Megatron(Kind):
    """A directory `iter_0000100` or `release`; a distributed one also under another name."""

    framework: ClassVar[str] = "megatron"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        """By its settings beside what is common, or, under its name, by whatever is written first."""
        common = {megatron_dist.COMMON, megatron_dist.SHARDS}
        if megatron_dist.SETTINGS in files and common <= files:
            return True
        if _NAME.match(name) is None:
            return False
        shards = not common.isdisjoint(files) or any(file.endswith(".distcp") for file in files)
        return shards or bool(megatron_ranks.ranks_in(directories))

    def prove(self) -> None:
        """Whole when every rank is there, or, of a distributed one, when its settings are, which are written last."""
        if self._by_rank:
            megatron_ranks.prove(self._gathering)
        else:
            megatron_dist.prove(self._gathering, "")

    def read(self) -> Contents:
        """Arguments, iteration, states and generators, of all ranks."""
        gathering = self._gathering
        top = megatron_ranks.tree(gathering) if self._by_rank else megatron_dist.tree(gathering, "")
        generators = top.get("rng_state")
        found = told(top, self.framework, ranks=len(generators) if isinstance(generators, list) else 0)
        named = _NAME.match(self.folder.name)
        if found.step is None and named is not None and named[1]:
            found.step = int(named[1])
        return Contents(found, top, gathering.unknown_globals, gathering.omitted)

    @property
    def _by_rank(self) -> bool:
        return bool(megatron_ranks.ranks_in(self.folder.directories))
