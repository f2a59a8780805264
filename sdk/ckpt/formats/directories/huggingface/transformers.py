"""Checkpoints of the Trainer of transformers: `checkpoint-<step>/`, with adapters and sharded engines in them."""

from __future__ import annotations

from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering, gap, numbered
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.huggingface import engines, shards, trainer_state, without_state
from ckpt.formats.directories.huggingface.names import (
    ADAPTER_CONFIG,
    ARGUMENTS,
    CONFIG,
    TRAINER_RNG,
    TRAINER_STATE,
    TRAINER_STATES,
    TRAINER_UNFINISHED,
    is_engine,
)
from ckpt.formats.directories.huggingface.sharded import saved_by
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Unfinished

_CONFIGS = {"model_config": CONFIG, "adapter_config": ADAPTER_CONFIG}


class Transformers(Kind):
    """One checkpoint of a Trainer, whose first process writes `trainer_state.json` last; or a model saved like one."""

    framework: ClassVar[str] = "transformers"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._state: dict[str, Any] = {}
        self._arguments: Any = None
        self._weights: dict[str, Any] = {}
        self._engines = engines.Engines()
        self._rng: dict[int, str] = {}

    def prove(self) -> None:
        folder, gathering = self.folder, self._gathering
        if TRAINER_UNFINISHED in folder.files:
            raise Unfinished(f"{TRAINER_UNFINISHED} is there: its saving was not finished")
        if TRAINER_STATE in folder.files:
            self._state = gathering.mapping(TRAINER_STATE)
        else:
            without_state.prove(gathering)
        if ARGUMENTS in folder.files:
            self._arguments = gathering.tree(ARGUMENTS)
        self._engines = engines.find(gathering)
        self._weights = _weights(gathering)
        if not self._weights and not self._engines.model and not gathering.omitted:
            raise Unfinished("it holds no weights")
        for name in TRAINER_STATES.values():
            if name in folder.files:
                gathering.tree(name)
        self._prove_ranks()

    def _prove_ranks(self) -> None:
        self._rng = numbered(self.folder.files, TRAINER_RNG)
        if not self._rng or "rng_state.pth" in self.folder.files:
            return
        missing = gap(self._rng)
        # The first process does not wait for the others before it writes the state.
        settings = mapping_of(self._arguments) or {}
        if settings.get("save_on_each_node") is True:
            return  # the others' files may be on other nodes
        if missing is None and len(self._rng) < trainer_state.world_size(self._arguments):
            missing = len(self._rng)
        if missing is not None:
            raise Unfinished(f"rng_state_{missing}.pth is missing: not all processes have saved")

    def _framework(self) -> str:
        if TRAINER_STATE in self.folder.files or self._arguments is not None:
            return self.framework
        if ADAPTER_CONFIG in self.folder.files:
            return "peft"
        return saved_by(self._gathering.mapping(CONFIG) if CONFIG in self.folder.files else {}, self.folder.files)

    def read(self) -> Contents:
        gathering = self._gathering
        top: dict[str, Any] = {"model": self._weights}
        top.update((key, gathering.tree(name)) for key, name in TRAINER_STATES.items() if name in self.folder.files)
        random = gathering.trees(self._rng.values())
        if random is not None:
            top["rng_state"] = random
        self._engines.add_to(top)
        ranks = len(self._rng)
        count = max(trainer_state.world_size(self._arguments), ranks)
        held = {key: value for key, value in top.items() if value}
        found = told(held, self._framework(), {"world_size": count} if count else {}, ranks)
        if found.learning_rate is None:
            found.learning_rate = self._engines.learning_rate
        trainer_state.tell(found, self._state)
        if TRAINER_STATE in self.folder.files and not self._state:
            found.references["best_model_checkpoint"] = ()  # too large to be read
        plain = Plain(Scalars())
        found.config = trainer_state.settings(self._arguments, plain)
        for key, name in _CONFIGS.items():
            if name in self.folder.files:
                found.config[key] = plain.mapping(gathering.mapping(name))
        found.monitor, found.mode = trainer_state.monitor(found.config)
        # A resumed training finds its place in the data by skipping what its steps have seen.
        found.resume["data"] = found.step is not None and found.config.get("ignore_data_skip") is not True
        if self._state:
            top["trainer_state"] = {key: value for key, value in self._state.items() if key != "log_history"}
        return Contents(found, top, gathering.unknown_globals, gathering.omitted)


def _weights(gathering: Gathering) -> dict[str, Any]:
    """The model's own weights or an adapter's; further adapters under the names of their directories."""
    found = dict(shards.preferred(gathering))
    for directory in sorted(gathering.folder.directories):
        if "/" not in directory and not is_engine(directory):
            further = shards.preferred(gathering, f"{directory}/")
            found.update({f"{directory}.{name}": tensor for name, tensor in further.items()})
    return found
