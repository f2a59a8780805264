"""Checkpoints of verl: per-rank files of actor and critic under one step, and the position in the data."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpt.formats.directories import beside
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.gathering import Gathering
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.told import told
from ckpt.formats.source import Damaged, Unfinished

_NAME = re.compile(r"^global_step_(\d{1,12})$")
_RANK = re.compile(
    r"^(?:(?P<part>[^/]+)/)?(?P<kind>model|optim|extra_state)_world_size_(?P<world>\d{1,7})_rank_(?P<rank>\d{1,7})\.pt$"
)
_DATA = re.compile(r"^data(?:_\d{1,7})?\.pt$")
_PARTS = frozenset({"actor", "critic"})
_TRACKER = "latest_checkpointed_iteration.txt"


@dataclass(slots=True)
class _Ranks:
    """Files of one kind in one part of the checkpoint, by rank."""

    world: int
    files: dict[int, str] = field(default_factory=dict)


class Verl(Kind):
    """A directory `global_step_N` that verl's trainers with FSDP write."""

    framework: ClassVar[str] = "verl"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._ranks: dict[tuple[str, str], _Ranks] = {}

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        """By its name, and a part or a rank's file in it."""
        return _NAME.match(name) is not None and (
            not _PARTS.isdisjoint(directories) or any(_RANK.match(file) for file in files)
        )

    def prove(self) -> None:
        """Whole when there are as many files of each kind as ranks, and the data position, written last, is there."""
        for name in self.folder.files:
            found = _RANK.match(name)
            if found is None:
                continue
            ranks = self._ranks.setdefault((found["part"] or "", found["kind"]), _Ranks(int(found["world"])))
            if ranks.world != int(found["world"]):
                raise Damaged(f"{name} is of another number of ranks than the others")
            ranks.files[int(found["rank"])] = name
        for part in sorted(_PARTS & self.folder.directories):
            if not any(key[0] == part for key in self._ranks):
                raise Unfinished(f"{part} holds no rank's files")
        for ranks in self._ranks.values():
            some = next(iter(ranks.files.values()))
            if len(ranks.files) != ranks.world or max(ranks.files) >= ranks.world:
                missing = next(rank for rank in range(ranks.world + 1) if rank not in ranks.files)
                raise Unfinished(f"{some.rpartition('_')[0]}_{missing}.pt is missing")
            for name in ranks.files.values():
                self._gathering.tree(name)
        if not self._data() and not self._reached():
            raise Unfinished("data.pt is missing")
        for name in self._data():
            self._gathering.tree(name)

    def read(self) -> Contents:
        """Models, optimizers and schedulers by part and rank, generators by rank, positions in the data."""
        gathering = self._gathering
        kept: dict[str, dict[str, Any]] = {"model": {}, "optimizer": {}, "lr_scheduler": {}}
        generators: list[Any] = []
        for (part, kind), ranks in sorted(self._ranks.items()):
            for rank, name in sorted(ranks.files.items()):
                key = f"{part}.rank_{rank}" if part else f"rank_{rank}"
                top = gathering.tree(name)
                if kind == "model":
                    kept["model"][key] = top
                elif kind == "optim":
                    kept["optimizer"][key] = top
                elif isinstance(top, dict):
                    kept["lr_scheduler"][key] = top.get("lr_scheduler")
                    generators += [top["rng"]] if top.get("rng") is not None else []
        kept["lr_scheduler"] = {key: state for key, state in kept["lr_scheduler"].items() if state is not None}
        top = {name: states for name, states in kept.items() if states}
        if generators:
            top["rng"] = generators
        if self._data():
            top["dataloader"] = {name: gathering.tree(name) for name in self._data()}
        world = max((ranks.world for ranks in self._ranks.values()), default=0)
        topology = {"world_size": world} if world else {}
        own = sum(1 for (part, kind), ranks in self._ranks.items() if kind == "extra_state" for _ in ranks.files)
        shared = len({part for part, kind in self._ranks if kind == "extra_state"}) or 1
        found = told(top, self.framework, topology, own // shared)
        named = _NAME.match(self.folder.name)
        found.step = int(named[1]) if named is not None else found.step
        return Contents(found, top, gathering.unknown_globals, gathering.omitted)

    def _data(self) -> list[str]:
        return [name for name in self.folder.files if _DATA.match(name)]

    def _reached(self) -> bool:
        """Whether the run's tracker, written after everything, has come to this step."""
        tracked = beside.text(self.folder.path, _TRACKER)
        named = _NAME.match(self.folder.name)
        return named is not None and tracked.isdecimal() and len(tracked) < 19 and int(tracked) >= int(named[1])
