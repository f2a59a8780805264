"""Checkpoints of LeRobot: a policy and the state of its training, side by side in a directory named by the step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import mapping, merged, required
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.names import LEROBOT_MODEL, LEROBOT_STATE
from ckpt.formats.source import Damaged, Unfinished

_WEIGHTS = (f"{LEROBOT_MODEL}/model.safetensors", f"{LEROBOT_MODEL}/adapter_model.safetensors")
_CONFIG = f"{LEROBOT_MODEL}/train_config.json"
_STEP = f"{LEROBOT_STATE}/training_step.json"
_RNG = f"{LEROBOT_STATE}/rng_state.safetensors"
_OPTIMIZER = "optimizer_state.safetensors"
_GROUPS = "optimizer_param_groups.json"
_SCHEDULER = f"{LEROBOT_STATE}/scheduler_state.json"
_GENERATORS = {"py_": "python", "np_": "numpy", "torch_cuda": "cuda", "torch_": "torch"}


class LeRobot(Kind):
    """A directory with a policy and a training state in it."""

    framework: ClassVar[str] = "lerobot"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)

    def prove(self) -> None:
        """Whole when the step, the generators, and what its configuration trains with are there."""
        required(self.folder, _CONFIG, _STEP, _RNG)
        if not any(name in self.folder.files for name in _WEIGHTS):
            raise Unfinished(f"{_WEIGHTS[0]} is missing")
        config = self._gathering.mapping(_CONFIG)
        for place in self._expected(config.get("optimizer")):
            required(self.folder, place + _OPTIMIZER, place + _GROUPS)
            self._gathering.tree(place + _OPTIMIZER)
        if config.get("scheduler") is not None:
            required(self.folder, _SCHEDULER)
        if type(self._gathering.mapping(_STEP).get("step")) is not int:
            raise Damaged(f"{_STEP} names no step")
        for name in (*_WEIGHTS, _RNG):
            if name in self.folder.files:
                self._gathering.tree(name)

    def read(self) -> Contents:
        """Policy, optimizer, scheduler, generators and configuration as one tree."""
        gathering = self._gathering
        files = self.folder.files
        top: dict[str, Any] = {"model": merged(gathering, (name for name in _WEIGHTS if name in files))}
        optimizers = {name: self._optimizer(place) for name, place in self._optimizers().items()}
        if optimizers:
            top["optimizer"] = optimizers.get("", optimizers)
        if _SCHEDULER in files:
            top["scheduler"] = self.folder.json(_SCHEDULER)
        top["rng_state"] = _by_generator(mapping(gathering, _RNG))
        told_of = {**top, "step": gathering.mapping(_STEP)["step"], "config": gathering.mapping(_CONFIG)}
        return Contents(told(told_of, self.framework), top, gathering.unknown_globals, gathering.omitted)

    def _optimizers(self) -> dict[str, str]:
        """Where the states of optimizers stand, by their names; that of a single one has the name ""."""
        start = f"{LEROBOT_STATE}/"
        found = [name for name in self.folder.files if name.startswith(start) and name.endswith(f"/{_OPTIMIZER}")]
        places = [name.removesuffix(_OPTIMIZER) for name in found]
        return {place.removeprefix(start).rstrip("/"): place for place in places}

    def _expected(self, configured: Any) -> set[str]:
        """Places of the optimizers that are there, and of those that the configuration names."""
        there = set(self._optimizers().values())
        if configured is None:
            return there
        groups = configured.get("optimizer_groups") if isinstance(configured, dict) else None
        if isinstance(groups, dict) and groups:
            return there | {f"{LEROBOT_STATE}/{name}/" for name in groups}
        return there or {f"{LEROBOT_STATE}/"}

    def _optimizer(self, place: str) -> dict[str, Any]:
        state = self._gathering.tree(place + _OPTIMIZER)
        return {"state": state, "param_groups": self.folder.json(place + _GROUPS)}


def _by_generator(states: Mapping[Any, Any]) -> dict[str, dict[Any, Any]]:
    """States by the generator that the first letters of their names mean."""
    found: dict[str, dict[Any, Any]] = {}
    for name, state in states.items():
        generator = next((known for lead, known in _GENERATORS.items() if str(name).startswith(lead)), "other")
        found.setdefault(generator, {})[name] = state
    return found
