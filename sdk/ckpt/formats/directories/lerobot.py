"""Checkpoints of LeRobot: a policy and the state of its training, side by side in a directory named by the step."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import mapping, merged, required
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.source import Damaged, Unfinished

_MODEL = "pretrained_model"
_STATE = "training_state"
_WEIGHTS = (f"{_MODEL}/model.safetensors", f"{_MODEL}/adapter_model.safetensors")
_CONFIG = f"{_MODEL}/train_config.json"
_STEP = f"{_STATE}/training_step.json"
_RNG = f"{_STATE}/rng_state.safetensors"
_OPTIMIZER = f"{_STATE}/optimizer_state.safetensors"
_GROUPS = f"{_STATE}/optimizer_param_groups.json"
_SCHEDULER = f"{_STATE}/scheduler_state.json"
_GENERATORS = {"py_": "python", "np_": "numpy", "torch_cuda": "cuda", "torch_": "torch"}


class LeRobot(Kind):
    """A directory with a policy and a training state in it."""

    framework: ClassVar[str] = "lerobot"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        """By its two parts; by the first alone while it is written, under a number."""
        del files
        return _MODEL in directories and (_STATE in directories or (name.isascii() and name.isdigit()))

    def prove(self) -> None:
        """Whole when the step, the generators, and what its configuration trains with are there."""
        required(self.folder, _CONFIG, _STEP, _RNG)
        if not any(name in self.folder.files for name in _WEIGHTS):
            raise Unfinished(f"{_WEIGHTS[0]} is missing")
        config = self._gathering.mapping(_CONFIG)
        if config.get("optimizer") is not None or _OPTIMIZER in self.folder.files:
            required(self.folder, _OPTIMIZER, _GROUPS)
        if config.get("scheduler") is not None:
            required(self.folder, _SCHEDULER)
        if type(self._gathering.mapping(_STEP).get("step")) is not int:
            raise Damaged(f"{_STEP} names no step")
        for name in (*_WEIGHTS, _RNG, _OPTIMIZER):
            if name in self.folder.files:
                self._gathering.tree(name)

    def read(self) -> Contents:
        """Policy, optimizer, scheduler, generators and configuration as one tree."""
        gathering = self._gathering
        files = self.folder.files
        top: dict[str, Any] = {"model": merged(gathering, (name for name in _WEIGHTS if name in files))}
        if _OPTIMIZER in files:
            top["optimizer"] = {"state": gathering.tree(_OPTIMIZER), "param_groups": self.folder.json(_GROUPS)}
        if _SCHEDULER in files:
            top["scheduler"] = self.folder.json(_SCHEDULER)
        top["rng_state"] = _by_generator(mapping(gathering, _RNG))
        told_of = {**top, "step": gathering.mapping(_STEP)["step"], "config": gathering.mapping(_CONFIG)}
        return Contents(told(told_of, self.framework), top, gathering.unknown_globals, gathering.omitted)


def _by_generator(states: Mapping[Any, Any]) -> dict[str, dict[Any, Any]]:
    """States by the generator that the first letters of their names mean."""
    found: dict[str, dict[Any, Any]] = {}
    for name, state in states.items():
        generator = next((known for lead, known in _GENERATORS.items() if str(name).startswith(lead)), "other")
        found.setdefault(generator, {})[name] = state
    return found
