"""What has a state: objects with `state_dict()` and `load_state_dict()`, and random generators."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import StateError
from ckpt.saving.capture.weights import give_module_state, module_state, unwrap
from ckpt.state import real

_HINT = "only what tells its own state, by state_dict() and load_state_dict(), can be saved and go on exactly"


def has_state(item: Any) -> bool:
    """Whether an object tells its state and takes it back."""
    if isinstance(item, type):
        return False
    if callable(getattr(item, "state_dict", None)) and callable(getattr(item, "load_state_dict", None)):
        return True
    return isinstance(item, random.Random | np.random.RandomState | np.random.Generator | torch.Generator)


def state_of(item: Any, where: str) -> Any:
    """The state of an object; of a wrapped module that of the module in it. Raises StateError when it has none."""
    if isinstance(item, torch.nn.Module):
        return module_state(unwrap(item))
    if callable(getattr(item, "state_dict", None)):
        return item.state_dict()
    if isinstance(item, random.Random):
        return item.getstate()
    if isinstance(item, np.random.RandomState):
        return item.get_state(legacy=False)
    if isinstance(item, np.random.Generator):
        return item.bit_generator.state
    if isinstance(item, torch.Generator):
        return item.get_state()
    raise StateError(f"{where} is a {type(item).__name__}, which has no state_dict()", hint=_HINT)


def give_state(item: Any, state: Any) -> None:
    """Gives an object a state back. Raises whatever the object raises for a state that it cannot take."""
    if isinstance(item, torch.nn.Module):
        give_module_state(unwrap(item), state)
    elif callable(getattr(item, "load_state_dict", None)):
        item.load_state_dict(state)
    elif isinstance(item, random.Random):
        version, inner, gauss = state
        item.setstate((version, tuple(inner), gauss))
    elif isinstance(item, np.random.RandomState):
        item.set_state(state)
    elif isinstance(item, np.random.Generator):
        item.bit_generator.state = state
    elif isinstance(item, torch.Generator):
        item.set_state(state.cpu())
    else:
        raise TypeError(f"a {type(item).__name__} has no load_state_dict()")


def is_named(objects: Any) -> bool:
    """Whether this is a mapping of names to objects, and not one state."""
    if not isinstance(objects, Mapping) or not objects:
        return False
    return all(isinstance(name, str) and has_state(item) for name, item in objects.items())


def several(objects: Any) -> tuple[list[Any], tuple[str, ...] | None]:
    """One object, several or named ones as a list, and their names where they have some."""
    if objects is None:
        return [], None
    if is_named(objects):
        return list(objects.values()), tuple(objects)
    return (list(objects) if isinstance(objects, Sequence) else [objects]), None


def learning_rate_of(optimizers: Any) -> float:
    """The rate of the first group of the first optimizer; NaN when there is none."""
    groups = getattr(next(iter(several(optimizers)[0]), None), "param_groups", None)
    return real(groups[0]["lr"], "learning_rate") if groups else math.nan


def state_dicts_of(objects: Any, what: str) -> list[Any] | None:
    """The states of one object, of several or of named ones; a mapping is a state already. None for nothing.

    Raises StateError for an object that has no `state_dict()`.
    """
    if objects is None:
        return None
    items, names = several(objects)
    states = []
    for i, item in enumerate(items):
        if names is not None:
            where = f"{what}.{names[i]}"
        else:
            where = f"{what}[{i}]" if len(items) > 1 else what
        states.append(item if isinstance(item, Mapping) and not has_state(item) else state_of(item, where))
    return states
