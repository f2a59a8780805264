"""Megatron's distributed checkpoints: what all ranks share in one file, and sharded tensors beside it."""

from __future__ import annotations

from typing import Any

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import mapping, required
from ckpt.formats.directories.dcp.reader import DcpReader
from ckpt.formats.directories.megatron.names import COMMON, SETTINGS
from ckpt.formats.source import Damaged

_BACKENDS = ("torch_dist", "torch_dcp")
_OPTIMIZER = "optimizer."
_GENERATORS = "rng_state/"


class Distributed:
    """A distributed checkpoint in the part of a folder that begins with `base` ("" or a name with its slash).

    `prove` comes first, then `tree`. Both raise Unreadable and OSError.
    """

    def __init__(self, gathering: Gathering, base: str = "") -> None:
        self._gathering = gathering
        self._base = base
        self._reader = DcpReader(gathering.folder, base)
        self._shards = True
        files = gathering.folder.files
        self._plain = base + SETTINGS not in files and base + COMMON not in files
        self.ranks = 0
        """How many ranks have generators of their own, once `tree` was made."""

    @property
    def topology(self) -> dict[str, int]:
        """How the training was spread, by the files alone."""
        return {"world_size": self._reader.world_size} if self._reader.world_size else {}

    def prove(self) -> None:
        """Proves it whole: its settings, written last, are there, and all shards. Plain torch ones have no settings."""
        if not self._plain:
            required(self._gathering.folder, self._base + SETTINGS, self._base + COMMON)
            backend = self._gathering.mapping(self._base + SETTINGS).get("sharded_backend")
            if type(backend) is not str:
                raise Damaged(f"{self._base}{SETTINGS} names no backend")
            mapping(self._gathering, self._base + COMMON)
            self._shards = backend in _BACKENDS
        if self._shards:
            self._reader.prove()

    def tree(self) -> dict[Any, Any]:
        """What all ranks share, weights under `model`, and the states that are spread over the ranks."""
        if self._plain:
            top = dict(self._reader.tree())
            self._take_generators(top)
        else:
            top = dict(mapping(self._gathering, self._base + COMMON))
            if self._shards:
                self._add_shards(top)
        self._gathering.unknown_globals.update(self._reader.unknown_globals)
        self._gathering.omitted += self._reader.omitted
        return top

    def _take_generators(self, top: dict[Any, Any]) -> None:
        """Makes one list of generators that stand by pipeline and tensor rank."""
        spread = top.get("rng_state")
        if isinstance(spread, dict) and all(type(states) is list for states in spread.values()):
            top["rng_state"] = [state for states in spread.values() for state in states]
            self.ranks = len(top["rng_state"])

    def _add_shards(self, top: dict[Any, Any]) -> None:
        weights: dict[str, Any] = {}
        states: dict[str, Any] = {}
        generators: list[Any] = []
        for name, value in {**self._reader.tensors(), **self._reader.values()}.items():
            if name.startswith(_OPTIMIZER):
                states[name.removeprefix(_OPTIMIZER)] = value
            elif name.startswith(_GENERATORS):
                generators += value if isinstance(value, list) else [value]
            else:
                weights[name] = value
        if weights:
            top["model"] = {**top["model"], **weights} if isinstance(top.get("model"), dict) else weights
        if states:
            shared = top.get("optimizer")
            top["optimizer"] = {**(shared if isinstance(shared, dict) else {}), "sharded": states}
        if generators:
            top["rng_state"] = generators
            self.ranks = len(generators)
