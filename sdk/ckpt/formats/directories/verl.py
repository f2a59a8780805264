"""Checkpoints of verl: per-rank files of actor and critic under one step, and the position in the data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpt.formats.directories.common import beside
from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.megatron.verl_part import MegatronPart, is_megatron
from ckpt.formats.directories.names import VERL_PARTS, VERL_RANK, VERL_STEP
from ckpt.formats.source import Damaged, Unfinished

_DATA = re.compile(r"^data(?:_\d{1,7})?\.pt$")
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
        self._megatron: dict[str, MegatronPart] = {}
        self._ranks: dict[tuple[str, str], _Ranks] = {}

    def prove(self) -> None:
        """Whole when there are as many files of each kind as ranks, and the data position, written last, is there."""
        for name in self.folder.files:
            found = VERL_RANK.match(name)
            if found is None:
                continue
            ranks = self._ranks.setdefault((found["part"] or "", found["kind"]), _Ranks(int(found["world"])))
            if ranks.world != int(found["world"]):
                raise Damaged(f"{name} is of another number of ranks than the others")
            ranks.files[int(found["rank"])] = name
        parts = sorted(VERL_PARTS & self.folder.directories)
        for part in parts or [""]:
            if is_megatron(self._gathering, part):
                self._megatron[part] = MegatronPart(self._gathering, part)
                self._megatron[part].prove()
            elif not any(key[0] == part for key in self._ranks):
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
        generators = [*self._from_ranks(kept), *self._from_megatron(kept)]
        top: dict[str, Any] = {}
        for kind, states in kept.items():
            there = {key: state for key, state in states.items() if state is not None}
            if there:
                top[kind] = there
        if generators:
            top["rng"] = generators
        if self._data():
            top["dataloader"] = {name: gathering.tree(name) for name in self._data()}
        worlds = [ranks.world for ranks in self._ranks.values()]
        worlds += [part.world_size for part in self._megatron.values()]
        world = max(worlds, default=0)
        topology = {"world_size": world} if world else {}
        parts = len({part for part, _ in self._ranks} | set(self._megatron)) or 1
        found = told(top, self.framework, topology)
        found.resume["rng"]["ranks"] = len(generators) // parts
        named = VERL_STEP.match(self.folder.name)
        found.step = int(named[1]) if named is not None else found.step
        return Contents(found, top, gathering.unknown_globals, gathering.omitted)

    def _from_ranks(self, kept: dict[str, dict[str, Any]]) -> list[Any]:
        """Adds each rank's states, and gives their generators."""
        generators: list[Any] = []
        for (part, kind), ranks in sorted(self._ranks.items()):
            for rank, name in sorted(ranks.files.items()):
                key = f"{part}.rank_{rank}" if part else f"rank_{rank}"
                top = self._gathering.tree(name)
                if kind == "model":
                    kept["model"][key] = top
                elif kind == "optim":
                    kept["optimizer"][key] = top
                elif isinstance(top, dict):
                    kept["lr_scheduler"][key] = top.get("lr_scheduler")
                    generators += [top["rng"]] if top.get("rng") is not None else []
        return generators

    def _from_megatron(self, kept: dict[str, dict[str, Any]]) -> list[Any]:
        """Adds the states of parts that Megatron saved, and gives their generators."""
        generators: list[Any] = []
        for part, saved in self._megatron.items():
            whole = saved.tree()
            for kind in kept:
                kept[kind].update({part: whole.get(kind)} if part else whole.get(kind) or {})
            own = whole.get("rng_state")
            generators += own if isinstance(own, list) else []
        return generators

    def _data(self) -> list[str]:
        return [name for name in self.folder.files if _DATA.match(name)]

    def _reached(self) -> bool:
        """Whether the run's tracker, written after everything, has come to this step."""
        tracked = beside.text(self.folder.path, _TRACKER)
        named = VERL_STEP.match(self.folder.name)
        return named is not None and tracked.isdecimal() and len(tracked) < 19 and int(tracked) >= int(named[1])
