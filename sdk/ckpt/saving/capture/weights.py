"""A module, named modules or a mapping of tensors as names and tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import StateError
from ckpt.saving.envelope.tensors import tensor_of

_COMPILED = "_orig_mod."
_HINT = "give a module, named modules or a mapping of tensors"


def unwrap(module: Any) -> torch.nn.Module:
    """The module that the user wrote, inside the wrappers of data parallelism and compilation."""
    while True:
        if isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), torch.nn.Module):
            module = module._orig_mod
        else:
            found: torch.nn.Module = module
            return found


def is_modules(weights: Any) -> bool:
    """Whether this is a mapping of named modules, or a list of modules."""
    if isinstance(weights, Mapping):
        weights = list(weights.values())
    elif not isinstance(weights, Sequence) or isinstance(weights, str | bytes):
        return False
    return bool(weights) and all(isinstance(module, torch.nn.Module) for module in weights)


def named(modules: Any) -> dict[str, torch.nn.Module]:
    """Modules by name; those of a list are called `0`, `1` …"""
    pairs = modules.items() if isinstance(modules, Mapping) else enumerate(modules)
    return {str(name): unwrap(module) for name, module in pairs}


def plain_names(module: torch.nn.Module) -> dict[str, str]:
    """Names of a module's tensors without the marks of parts that are compiled, and the names as they stand.

    So the same weights have the same names whether or not a part of the model is compiled.
    """
    return {name.replace(_COMPILED, ""): name for name in module.state_dict()}


def weights_of(weights: Any) -> Mapping[str, Any]:
    """Name to tensor, buffers included, of a module, of named modules (`name.key`), or of a mapping of tensors.

    Arrays become tensors over the same memory. Raises StateError for anything else.
    """
    if isinstance(weights, torch.nn.Module):
        return _state(unwrap(weights))
    if is_modules(weights):
        flat: OrderedDict[str, Any] = OrderedDict()
        for name, module in named(weights).items():
            flat.update((f"{name}.{key}", value) for key, value in _state(module).items())
        return flat
    if not isinstance(weights, Mapping):
        raise StateError(f"weights are a {type(weights).__name__}", hint=_HINT)
    for name, value in weights.items():
        if not isinstance(name, str):
            raise StateError(f"weights have the name {name!r}, which is no string")
        if not isinstance(value, torch.Tensor | np.ndarray | np.generic) and not name.endswith("_extra_state"):
            raise StateError(
                f"weights.{name} is a {type(value).__name__}", hint="weights map names to tensors or arrays"
            )
    if not any(isinstance(value, np.ndarray | np.generic) for value in weights.values()):
        return weights
    return {
        name: tensor_of(np.asarray(value), f"weights.{name}") if isinstance(value, np.ndarray | np.generic) else value
        for name, value in weights.items()
    }


def _state(module: torch.nn.Module) -> Mapping[str, Any]:
    state = module.state_dict()
    if not any(_COMPILED in name for name in state):
        return state
    renamed: Any = OrderedDict((name.replace(_COMPILED, ""), value) for name, value in state.items())
    versions = getattr(state, "_metadata", {})
    renamed._metadata = {name.replace(_COMPILED, "").removesuffix("._orig_mod"): v for name, v in versions.items()}
    return renamed  # type: ignore[no-any-return]
