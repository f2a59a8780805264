"""States out of the objects of a training, and random states back into their generators."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import StateError
from ckpt.saving.plain import tensor_of

RANDOM_ALIASES = {
    "python": "python_random",
    "random": "python_random",
    "numpy": "numpy_random",
    "np": "numpy_random",
    "torch": "torch_cpu",
    "torch_rng_state": "torch_cpu",
    "cpu": "torch_cpu",
    "cuda": "torch_cuda",
}
"""Names under which other tools keep random states, and ours."""


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
    """Whether this is a mapping of named modules."""
    if not isinstance(weights, Mapping) or not weights:
        return False
    return all(isinstance(module, torch.nn.Module) for module in weights.values())


def weights_of(weights: Any) -> Mapping[str, Any]:
    """Name to tensor, buffers included, of a module, of named modules (`name.key`), or of a mapping of tensors.

    Arrays become tensors over the same memory. Raises StateError for anything else.
    """
    if isinstance(weights, torch.nn.Module):
        return unwrap(weights).state_dict()
    if not isinstance(weights, Mapping):
        raise StateError(
            f"weights are a {type(weights).__name__}", hint="give a module, named modules or a mapping of tensors"
        )
    if is_modules(weights):
        flat: OrderedDict[str, Any] = OrderedDict()
        for name, module in weights.items():
            flat.update((f"{name}.{key}", value) for key, value in unwrap(module).state_dict().items())
        return flat
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


def state_dicts_of(objects: Any, what: str) -> list[Any] | None:
    """The states of one object or of several; a mapping is a state already. None when there is nothing.

    Raises StateError for an object that has no `state_dict()`.
    """
    if objects is None:
        return None
    several = list(objects) if isinstance(objects, Sequence) else [objects]
    states = []
    for i, item in enumerate(several):
        if isinstance(item, Mapping):
            states.append(item)
        elif callable(getattr(item, "state_dict", None)):
            states.append(item.state_dict())
        else:
            where = f"{what}[{i}]" if len(several) > 1 else what
            raise StateError(
                f"{where} is a {type(item).__name__}, which has no state_dict()",
                hint="only what tells its own state can be saved and go on exactly",
            )
    return states


def capture_random() -> dict[str, Any]:
    """The random states of Python, NumPy's global generator, torch on the CPU, and on CUDA when it is in use."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if in_use else None
    return {
        "python_random": random.getstate(),
        "numpy_random": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        "torch_cpu": torch.get_rng_state(),
        "torch_cuda": cuda,
    }


def restore_random(states: Mapping[str, Any]) -> list[str]:
    """Sets the generators to captured states and returns the names of those that could not be set.

    CUDA states are left out where this machine has another number of devices. Nothing is set unless all that is known
    can be read. Raises StateError for a state that is damaged.
    """
    wanted = {RANDOM_ALIASES.get(str(name), str(name)): state for name, state in states.items() if state is not None}
    left = [name for name in wanted if name not in ("python_random", "numpy_random", "torch_cpu", "torch_cuda")]
    before = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    try:
        if "python_random" in wanted:
            version, inner, gauss = wanted["python_random"]
            random.setstate((version, tuple(inner), gauss))
        if "numpy_random" in wanted:
            name, keys, *rest = wanted["numpy_random"]
            np.random.set_state((name, np.asarray(keys).astype(np.uint32), *rest))
        if "torch_cpu" in wanted:
            torch.set_rng_state(wanted["torch_cpu"].cpu())
    except (TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
        raise StateError(f"the random states cannot be restored: {error}") from error
    devices = wanted.get("torch_cuda")
    if devices is not None:
        if torch.cuda.is_available() and torch.cuda.device_count() == len(devices):
            torch.cuda.set_rng_state_all([state.cpu() for state in devices])
        else:
            left.append("torch_cuda")
    return left
