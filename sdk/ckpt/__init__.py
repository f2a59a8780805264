"""ckpt: know every training checkpoint, keep the right ones, never lose one.

Importing this loads neither torch nor NumPy; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpt.config import CheckpointConfig
    from ckpt.exceptions import (
        AddressError,
        CheckpointError,
        CkptError,
        CorruptError,
        FormatError,
        IncompleteError,
        LockedError,
        OperationError,
        SaveError,
        StateError,
        UsageError,
    )
    from ckpt.hook import TrainingHook
    from ckpt.loaders import LoaderSchedule, ResumableLoader, seed_worker
    from ckpt.records import Checkpoint
    from ckpt.retention import Policy
    from ckpt.runs import Run
    from ckpt.saving import CheckpointManager
    from ckpt.saving.by_hand import load_checkpoint, save_checkpoint
    from ckpt.state import TrainingState

_HOMES = {
    "AddressError": "ckpt.exceptions",
    "Checkpoint": "ckpt.records",
    "CheckpointConfig": "ckpt.config",
    "CheckpointError": "ckpt.exceptions",
    "CheckpointManager": "ckpt.saving",
    "CkptError": "ckpt.exceptions",
    "CorruptError": "ckpt.exceptions",
    "FormatError": "ckpt.exceptions",
    "IncompleteError": "ckpt.exceptions",
    "LoaderSchedule": "ckpt.loaders",
    "LockedError": "ckpt.exceptions",
    "OperationError": "ckpt.exceptions",
    "Policy": "ckpt.retention",
    "ResumableLoader": "ckpt.loaders",
    "Run": "ckpt.runs",
    "SaveError": "ckpt.exceptions",
    "StateError": "ckpt.exceptions",
    "TrainingHook": "ckpt.hook",
    "TrainingState": "ckpt.state",
    "UsageError": "ckpt.exceptions",
    "load_checkpoint": "ckpt.saving.by_hand",
    "save_checkpoint": "ckpt.saving.by_hand",
    "seed_worker": "ckpt.loaders",
}

_ROOMS = ("diff", "formats", "retention")
"""Modules that are public as a whole: `ckpt.diff.diff(a, b)`, `ckpt.formats.inspect(path)`."""

__all__ = [
    "AddressError",
    "Checkpoint",
    "CheckpointConfig",
    "CheckpointError",
    "CheckpointManager",
    "CkptError",
    "CorruptError",
    "FormatError",
    "IncompleteError",
    "LoaderSchedule",
    "LockedError",
    "OperationError",
    "Policy",
    "ResumableLoader",
    "Run",
    "SaveError",
    "StateError",
    "TrainingHook",
    "TrainingState",
    "UsageError",
    "load_checkpoint",
    "save_checkpoint",
    "seed_worker",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if name in _ROOMS:
        return import_module(f"ckpt.{name}")
    if home is None:
        raise AttributeError(f"module 'ckpt' has no attribute {name!r}")
    try:
        value = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"ckpt.{name} needs torch: pip install 'ckptd[torch]'", name="torch") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    loaded = {name for name, value in globals().items() if name.startswith("__") or isinstance(value, ModuleType)}
    return sorted({*loaded, *__all__})
