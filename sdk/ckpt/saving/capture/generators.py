"""Random states of Python, NumPy and torch: taken, proven, and set."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import StateError

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

GENERATORS = {"python_random": "python", "numpy_random": "numpy", "torch_cpu": "torch", "torch_cuda": "cuda"}
"""Keys of the captured states, and how reports call the generators."""


def capture_random() -> dict[str, Any]:
    """The random states of Python, NumPy's global generator, torch on the CPU, and on CUDA when it is in use.

    Raises StateError when NumPy's global generator is of another kind than it is at first.
    """
    state: Mapping[str, Any] = np.random.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise StateError(
            f"rng.numpy: NumPy's global generator is a {state['bit_generator']}, whose state is not captured",
            hint="save without random states, and register a numpy.random.Generator of that kind instead",
        )
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if in_use else None
    return {
        "python_random": random.getstate(),
        "numpy_random": plain_numpy_state(state),
        "torch_cpu": torch.get_rng_state(),
        "torch_cuda": cuda,
    }


@dataclass(frozen=True)
class ProvenStates:
    """Random states that the generators will take."""

    states: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    """Names of states that cannot be set here."""

    def set(self) -> None:
        """Sets the generators."""
        if "python_random" in self.states:
            random.setstate(self.states["python_random"])
        if "numpy_random" in self.states:
            np.random.set_state(self.states["numpy_random"])
        if "torch_cpu" in self.states:
            torch.set_rng_state(self.states["torch_cpu"])
        if "torch_cuda" in self.states:
            torch.cuda.set_rng_state_all(self.states["torch_cuda"])


def prove_random(states: Mapping[str, Any]) -> ProvenStates:
    """The states as their generators take them, tried on others of the same kind; nothing is set.

    CUDA states are left out where this machine has another number of devices, unknown names always. Raises StateError
    for a state that is damaged.
    """
    wanted = {RANDOM_ALIASES.get(str(name), str(name)): state for name, state in states.items() if state is not None}
    left = [name for name in wanted if name not in GENERATORS]
    proven: dict[str, Any] = {}
    try:
        if "python_random" in wanted:
            version, inner, gauss = wanted["python_random"]
            proven["python_random"] = (version, tuple(inner), gauss)
            random.Random().setstate(proven["python_random"])
        if "numpy_random" in wanted:
            proven["numpy_random"] = numpy_state(wanted["numpy_random"])
            np.random.RandomState().set_state(proven["numpy_random"])
        if "torch_cpu" in wanted:
            proven["torch_cpu"] = wanted["torch_cpu"].cpu()
            torch.Generator().set_state(proven["torch_cpu"])
        devices = wanted.get("torch_cuda")
        if devices is not None:
            if torch.cuda.is_available() and torch.cuda.device_count() == len(devices):
                proven["torch_cuda"] = [state.cpu() for state in devices]
                for device, state in enumerate(proven["torch_cuda"]):
                    torch.Generator(f"cuda:{device}").set_state(state)
            else:
                left.append("torch_cuda")
    except (TypeError, ValueError, RuntimeError, AttributeError, OverflowError, LookupError) as error:
        raise StateError(f"the random states cannot be restored: {error}") from error
    return ProvenStates(proven, tuple(left))


def restore_random(states: Mapping[str, Any]) -> list[str]:
    """Sets the generators to captured states and returns the names of those that could not be set.

    Raises StateError for a state that is damaged; then no generator is changed.
    """
    proven = prove_random(states)
    proven.set()
    return list(proven.left)


def plain_numpy_state(state: Mapping[str, Any]) -> tuple[Any, ...]:
    """The state of a Mersenne Twister, as `get_state(legacy=False)` of NumPy tells it, as plain data."""
    return (
        "MT19937",
        torch.from_numpy(np.asarray(state["state"]["key"]).astype(np.int64)),
        int(state["state"]["pos"]),
        int(state["has_gauss"]),
        float(state["gauss"]),
    )


def numpy_state(state: Any) -> tuple[Any, ...]:
    """NumPy's state as a tuple, from the tuple or from the mapping that newer versions give."""
    if isinstance(state, Mapping):
        inner = state.get("state", state)
        keys, position = inner["key"], inner["pos"]
        name, rest = state.get("bit_generator", "MT19937"), [state.get("has_gauss", 0), state.get("gauss", 0.0)]
    else:
        name, keys, position, *rest = state
    return (str(name), np.asarray(keys).astype(np.uint32), int(position), *rest)
