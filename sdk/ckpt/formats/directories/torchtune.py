"""Checkpoints of torchtune: weights of an epoch or step; what a resume needs besides lies once for the whole run."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import all_numbered, merged
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.source import Unfinished, Unreadable

_NAME = re.compile(r"^(epoch|step)_(\d{1,9})$")
_MODEL = re.compile(r"^(?:ft-)?model-\d{5}-of-\d{5}\.(?:safetensors|bin|pt)$")
_ADAPTER = ("adapter_model.pt", "adapter_model.safetensors", "adapter_model.bin")
_RECIPE = "recipe_state"


class TorchTune(Kind):
    """A directory `epoch_N` or `step_N` with weights in numbered files, with an adapter, or with an adapter alone."""

    framework: ClassVar[str] = "torchtune"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)

    @classmethod
    def recognise(cls, name: str, files: AbstractSet[str], directories: AbstractSet[str]) -> bool:
        """By its name and a file of weights."""
        del directories
        return _NAME.match(name) is not None and any(_MODEL.match(file) or file in _ADAPTER for file in files)

    def prove(self) -> None:
        """Whole when of numbered files all are there, the index with them, and all are sound."""
        files = self.folder.files
        model = [name for name in files if _MODEL.match(name)]
        all_numbered(self.folder, model)
        for name in model:
            self._gathering.tree(name)
        if "adapter_config.json" in files and not any(name in files for name in _ADAPTER):
            raise Unfinished("the adapter's weights are missing")
        for name in _ADAPTER:
            if name in files:
                self._gathering.tree(name)

    def read(self) -> Contents:
        """Weights and adapter; optimizer and position from the run's recipe state, if that is of this epoch."""
        gathering = self._gathering
        files = self.folder.files
        top: dict[str, Any] = {"model": merged(gathering, (name for name in files if _MODEL.match(name)))}
        adapters = [name for name in _ADAPTER if name in files]
        if adapters:
            top["adapter_model"] = gathering.tree(adapters[0])
        configured = gathering.mapping("adapter_config.json") if "adapter_config.json" in files else {}
        top = {name: weights for name, weights in top.items() if weights}
        found = told({**top, **self._recipe(), "config": configured}, self.framework)
        return Contents(found, top, gathering.unknown_globals, gathering.omitted)

    def _recipe(self) -> dict[str, Any]:
        """The run's one recipe state, written over each time; {} when it is of another epoch or unreadable."""
        named = _NAME.match(self.folder.name)
        try:
            with self.folder.beside(_RECIPE) as run:
                state = run.open(f"{_RECIPE}.pt").top
        except (OSError, Unreadable):
            return {}
        if not isinstance(state, dict) or named is None:
            return {}
        key, number = ("epochs_run", int(named[2]) + 1) if named[1] == "epoch" else ("steps_run", int(named[2]))
        if state.get(key) != number:
            return {}
        return {str(name): value for name, value in state.items() if name != "epochs_run"}
