"""Further objects whose states a checkpoint holds, by the names that the training gave them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ckpt.exceptions import StateError
from ckpt.saving.capture.protocol import has_state

TAKEN = frozenset(
    {
        "model",
        "optimizer",
        "scheduler",
        "scaler",
        "loaders",
        "gradients",
        "early_stopping",
        "metrics_history",
        "config",
        "model_config",
    }
)
"""Names of parts that a training has anyway."""


def refuse_name(name: Any) -> None:
    """Raises StateError for a name that is no text or means a part of every training."""
    if not isinstance(name, str) or not name:
        raise StateError(f"the name {name!r} is no text", hint='register("ema", ema)')
    if name in TAKEN or name.startswith("rng"):
        raise StateError(
            f"'{name}' is the name of a part that every training has",
            hint=f"register('my_{name}', …) works; taken are what begins with rng, and {', '.join(sorted(TAKEN))}",
        )


class Registry:
    """Objects by name: EMA copies, samplers, meters, generators, whatever has `state_dict` and `load_state_dict`."""

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}

    @property
    def objects(self) -> Mapping[str, Any]:
        """The registered objects by name, in the order of their registration."""
        return MappingProxyType(self._objects)

    def add(self, name: str, item: Any) -> None:
        """Registers an object; the same name again replaces it.

        Raises StateError for a name that is no text or means a part of every training, and for an object that has
        neither `state_dict()` with `load_state_dict()` nor the state of a random generator.
        """
        refuse_name(name)
        if not has_state(item):
            raise StateError(
                f"'{name}' is a {type(item).__name__}, which has no state_dict() and load_state_dict()",
                hint="give it both, and its state comes back with each checkpoint",
            )
        self._objects[name] = item
