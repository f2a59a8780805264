"""Who is told of a checkpoint; an error of one does not reach the others, nor the training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ckpt.state import TrainingState
from ckpt.telling import warn

log = logging.getLogger("ckpt.saving")

CheckpointCallback = Callable[[TrainingState, str | None], Any]
"""Called with the state that was saved and the path of its checkpoint, None while that is staged."""


class Callbacks:
    """Callbacks in the order of registration, each once."""

    def __init__(self) -> None:
        self._registered: list[CheckpointCallback] = []

    def register(self, callback: CheckpointCallback) -> None:
        """Adds a callback; one that is there already stays where it is. Raises TypeError for what is no callable."""
        if not callable(callback):
            raise TypeError(f"a checkpoint callback has to be callable, not {type(callback).__name__}")
        if callback not in self._registered:
            self._registered.append(callback)

    def unregister(self, callback: CheckpointCallback) -> bool:
        """Takes a callback away; False when it was not registered."""
        if callback not in self._registered:
            return False
        self._registered.remove(callback)
        return True

    def clear(self) -> int:
        """Takes all away and returns how many there were."""
        count = len(self._registered)
        self._registered.clear()
        return count

    def names(self) -> list[str]:
        """What the callbacks are called."""
        return [_name(callback) for callback in self._registered]

    def fire(self, state: TrainingState, reference: str | None) -> None:
        """Calls all; what one raises is logged and warned of."""
        for callback in list(self._registered):
            try:
                callback(state, reference)
            except Exception as error:
                log.exception("checkpoint callback %s failed", _name(callback))
                warn(f"checkpoint callback {_name(callback)} failed: {error!r}")


class HasCallbacks:
    """What a manager offers to whoever wants to be told."""

    _callbacks: Callbacks

    def register_checkpoint_callback(self, callback: CheckpointCallback) -> None:
        """Has `callback(state, path)` called after each save; the path is None while the checkpoint is staged.

        It is called in the training's own thread, at the first call of manager, hook or handle after the checkpoint was
        committed. An error in a callback is logged and warned of, and reaches neither the others nor the training.
        """
        self._callbacks.register(callback)

    def unregister_checkpoint_callback(self, callback: CheckpointCallback) -> bool:
        """Takes a callback away; False when it was not registered."""
        return self._callbacks.unregister(callback)

    def clear_callbacks(self) -> int:
        """Takes all callbacks away and returns how many there were."""
        return self._callbacks.clear()

    def list_callbacks(self) -> list[str]:
        """The names of the callbacks, in the order in which they are called."""
        return self._callbacks.names()


def _name(callback: CheckpointCallback) -> str:
    return getattr(callback, "__name__", None) or type(callback).__name__
