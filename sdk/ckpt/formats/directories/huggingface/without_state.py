"""Directories `checkpoint-<n>` without `trainer_state.json`: of a Trainer that still has to write it, or of another.

Loops of people save models under that name, and the Trainer of transformers before 3.4 wrote no such file.
"""

from __future__ import annotations

from itertools import islice

from ckpt.formats.directories.common import beside
from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.huggingface.names import (
    ADAPTER,
    ADAPTER_CONFIG,
    ARGUMENTS,
    STEP,
    TRAINER_RNG,
    TRAINER_STATE,
    TRAINER_STATES,
    is_engine,
)
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Unfinished

_TOGETHER = (TRAINER_STATES["optimizer"], TRAINER_STATES["scheduler"])
_MAX_OTHERS = 32
_SINCE_STATE = "load_best_model_at_end"
"""An argument that every Trainer knows which writes its state."""


def prove(gathering: Gathering) -> None:
    """Proves that no state of a Trainer is still to be written. Raises Unfinished, Damaged, OSError."""
    folder = gathering.folder
    if _is_to_come(gathering):
        raise Unfinished(f"{TRAINER_STATE} is missing, which is written last")
    if any(name in folder.files for name in ADAPTER) and ADAPTER_CONFIG not in folder.files:
        raise Unfinished(f"{ADAPTER_CONFIG} is missing")


def _is_to_come(gathering: Gathering) -> bool:
    folder = gathering.folder
    if any(map(TRAINER_RNG.fullmatch, folder.files)) or any(map(is_engine, folder.directories)):
        return True
    states = [name for name in TRAINER_STATES.values() if name in folder.files]
    if (states or ARGUMENTS in folder.files) and not all(name in states for name in _TOGETHER):
        return True
    if ARGUMENTS in folder.files and _SINCE_STATE in (mapping_of(gathering.tree(ARGUMENTS)) or {}):
        return True
    return _shows_trainer(folder)


def _shows_trainer(folder: Folder) -> bool:
    """Whether a Trainer of today has saved something next to a checkpoint."""
    if any(beside.exists(folder.path, name) for name in (TRAINER_STATE, ARGUMENTS)):
        return True
    others = filter(STEP.fullmatch, beside.directories(folder.path))
    return any(beside.exists(folder.path, f"{name}/{TRAINER_STATE}") for name in islice(others, _MAX_OTHERS))
