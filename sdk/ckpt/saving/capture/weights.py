"""A module, named modules or a mapping of tensors as names and tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import StateError
from ckpt.saving.envelope import places
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
    """Modules by name; those of a list are called `0`, `1` … Raises StateError for two of one name."""
    pairs = modules.items() if isinstance(modules, Mapping) else enumerate(modules)
    found: dict[str, torch.nn.Module] = {}
    for name, module in pairs:
        if str(name) in found:
            raise StateError(f"two models have the name '{name}'", hint="give each a name of its own")
        found[str(name)] = unwrap(module)
    return found


def plain_naming(module: torch.nn.Module) -> Callable[[str], str]:
    """How a tensor of a module is called without the marks of parts that are compiled or run in parallel.

    So the same weights have the same names whether or not a part of the model is wrapped.
    """
    parallel = [
        f"{path}.module."
        for path, part in module.named_modules(remove_duplicate=False)
        if path and isinstance(part, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel)
    ]
    # What is inside of another comes first: its name begins with that of the other.
    parallel.sort(key=len, reverse=True)

    def plain(name: str) -> str:
        for wrapped in parallel:
            if name.startswith(wrapped):
                name = wrapped.removesuffix("module.") + name.removeprefix(wrapped)
        return name.replace(_COMPILED, "")

    return plain


def plain_names(module: torch.nn.Module) -> dict[str, str]:
    """Plain names of a module's tensors, and the names as they stand in its state dict."""
    plain = plain_naming(module)
    return {plain(name): name for name in module.state_dict()}


def module_state(module: torch.nn.Module) -> Mapping[str, Any]:
    """The state dict of a module under plain names, with the versions of its parts as torch keeps them.

    Raises StateError when two tensors have the same plain name.
    """
    state: Mapping[str, Any] = module.state_dict()
    plain = plain_naming(module)
    if all(not isinstance(name, str) or plain(name) == name for name in state):
        return state
    renamed: Any = OrderedDict()
    for name, value in state.items():
        if plain(name) in renamed:
            raise StateError(f"two tensors of a module have the name '{plain(name)}'", hint="rename one of its parts")
        renamed[plain(name)] = value
    # A part inside of its wrapper comes behind it, and its version is the one that counts.
    renamed._metadata = {plain(f"{name}.")[:-1]: v for name, v in getattr(state, "_metadata", {}).items()}
    return renamed  # type: ignore[no-any-return]


def give_module_state(module: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """Gives a module a state with plain names. Raises whatever the module raises for one that it cannot take."""
    own = module.state_dict()
    plain = plain_naming(module)
    spelled = {plain(name): name for name in own if isinstance(name, str) and plain(name) != name}
    if not spelled:
        module.load_state_dict(state)
        return
    chosen: Any = OrderedDict((spelled.get(name, name), value) for name, value in state.items())
    versions = getattr(state, "_metadata", None)
    if versions is not None:
        parts = {name: plain(f"{name}.")[:-1] for name in getattr(own, "_metadata", {})}
        chosen._metadata = {name: versions[part] for name, part in parts.items() if part in versions}
    module.load_state_dict(chosen)


def weights_of(weights: Any) -> Mapping[str, Any]:
    """Name to tensor, buffers included, of a module, of named modules (`name.key`), or of a mapping of tensors.

    What a module keeps in its state dict besides tensors is taken too. Arrays become tensors over the same memory.
    Raises StateError for anything else.
    """
    if isinstance(weights, torch.nn.Module):
        return _with_versions(module_state(unwrap(weights)))
    if is_modules(weights):
        return _together(named(weights))
    if not isinstance(weights, Mapping):
        raise StateError(f"weights are a {type(weights).__name__}", hint=_HINT)
    for name, value in weights.items():
        if not isinstance(name, str):
            raise StateError(f"weights have the name {name!r}, which is no string")
        if not isinstance(value, torch.Tensor | np.ndarray | np.generic) and not places.may_hold_data(weights, name):
            raise StateError(
                f"weights.{name} is a {type(value).__name__}", hint="weights map names to tensors or arrays"
            )
    if not any(isinstance(value, np.ndarray | np.generic) for value in weights.values()):
        return weights
    found: Any = OrderedDict(
        (name, tensor_of(np.asarray(value), f"weights.{name}") if isinstance(value, np.ndarray | np.generic) else value)
        for name, value in weights.items()
    )
    if hasattr(weights, "_metadata"):
        found._metadata = weights._metadata
    return found  # type: ignore[no-any-return]


def _with_versions(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state of a module as such, also where the module made a mapping of its own of it."""
    if hasattr(state, "_metadata"):
        return state
    made: Any = OrderedDict(state)
    made._metadata = {}
    return made  # type: ignore[no-any-return]


def _together(modules: Mapping[str, torch.nn.Module]) -> Mapping[str, Any]:
    """The state of all modules as that of one which has them as its parts. Raises StateError where names meet."""
    flat: Any = OrderedDict()
    versions: dict[str, Any] = {}
    for part, module in modules.items():
        state = module_state(module)
        for key, value in state.items():
            if f"{part}.{key}" in flat:
                raise StateError(
                    f"two models have a tensor '{part}.{key}'", hint="give the models names without dots in them"
                )
            flat[f"{part}.{key}"] = value
        told = getattr(state, "_metadata", {})
        versions.update((f"{part}.{name}" if name else part, version) for name, version in told.items())
    flat._metadata = versions
    return flat  # type: ignore[no-any-return]
