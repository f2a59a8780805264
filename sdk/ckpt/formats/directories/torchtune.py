"""Checkpoints of torchtune: weights of an epoch or step; what a resume needs besides, there or once for the run."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import all_numbered, merged
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.names import (
    TORCHTUNE_ADAPTER,
    TORCHTUNE_BESIDE,
    TORCHTUNE_MODEL,
    TORCHTUNE_RECIPE,
    TORCHTUNE_SAVE,
)
from ckpt.formats.source import Unfinished, Unreadable

_ALONE = re.compile(r"^(?:pytorch_)?model(?:-\d{5}-of-\d{5})?\.(?:safetensors|bin)$")


class TorchTune(Kind):
    """A directory `epoch_N` or `step_N` with weights in numbered files, with an adapter, or with an adapter alone."""

    framework: ClassVar[str] = "torchtune"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)

    def prove(self) -> None:
        """Whole when of numbered files all are there, and all are sound."""
        files = self.folder.files
        all_numbered(self.folder, self._model())
        for name in self._model():
            self._gathering.tree(name)
        if "adapter_config.json" in files and not any(name in files for name in TORCHTUNE_ADAPTER):
            raise Unfinished("the adapter's weights are missing")
        for name in (*TORCHTUNE_ADAPTER, TORCHTUNE_RECIPE):
            if name in files:
                self._gathering.tree(name)

    def read(self) -> Contents:
        """Weights and adapter; optimizer and position from the recipe's state, if one is of this epoch or step."""
        gathering = self._gathering
        files = self.folder.files
        top: dict[str, Any] = {"model": merged(gathering, self._model())}
        adapters = [name for name in TORCHTUNE_ADAPTER if name in files]
        if adapters:
            top["adapter_model"] = gathering.tree(adapters[0])
        configured = gathering.mapping("adapter_config.json") if "adapter_config.json" in files else {}
        top = {name: weights for name, weights in top.items() if weights}
        found = told({**top, **self._recipe(), "config": configured}, self.framework)
        return Contents(found, top, gathering.unknown_globals, gathering.omitted)

    def _model(self) -> list[str]:
        """Files of weights. Newer versions, which keep the recipe's state with them, may write one without a number."""
        return [
            name
            for name in self.folder.files
            if TORCHTUNE_MODEL.match(name) or (TORCHTUNE_RECIPE in self.folder.files and _ALONE.match(name))
        ]

    def _recipe(self) -> dict[str, Any]:
        """The recipe's state: its own, or the run's one, written over each time; {} when that is of another save."""
        named = TORCHTUNE_SAVE.match(self.folder.name)
        by_epoch = named is not None and named[1] == "epoch"
        if TORCHTUNE_RECIPE in self.folder.files:
            state = self._gathering.tree(TORCHTUNE_RECIPE)
        else:
            state = self._of_run()
            number = 0 if named is None else int(named[2]) + by_epoch
            if not isinstance(state, dict) or state.get("epochs_run" if by_epoch else "steps_run") != number:
                return {}
        if not isinstance(state, dict):
            return {}
        # The first epoch is saved as epoch 0, when one has been run.
        return {**state, "epochs_run": int(named[2])} if named is not None and by_epoch else dict(state)

    def _of_run(self) -> Any:
        try:
            with self.folder.beside(TORCHTUNE_BESIDE) as run:
                return run.open(TORCHTUNE_RECIPE).top
        except (OSError, Unreadable):
            return None
