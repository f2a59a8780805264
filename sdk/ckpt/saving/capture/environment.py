"""What a training runs with: the same numbers come to the same bits only where all of it is the same."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch

_WORDS = {
    "torch": "torch {}",
    "device": "the device {}",
    "cpu": "a CPU that can {}",
    "threads": "{} thread(s)",
    "numpy": "NumPy {}",
    "python": "Python {}",
}
"""Name to how it is told; those that decide about bits come first."""

_BENCHMARK = "torch.backends.cudnn.benchmark is on: it may choose other algorithms in each run"
_ORDER = "CUDA may add in another order each time: torch.use_deterministic_algorithms(True) has it add in one"


def environment_of(weights: Any) -> dict[str, Any]:
    """Versions, threads and kind of device that a model runs with here, as plain data; no device for no model."""
    found = {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    device = _device(weights)
    return found if device is None else {**found, "device": device}


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What is another now than when it was saved, as words; () for files that do not tell. Pure."""
    return tuple(
        f"saved with {_told(words, saved[name])}, now {_told(words, now[name])}"
        for name, words in _WORDS.items()
        if name in saved and name in now and saved[name] != now[name]
    )


def _told(words: str, value: Any) -> str:
    return words.format(value).replace("(s)", "" if value == 1 else "s")


def nondeterminism() -> tuple[str, ...]:
    """What makes a training on CUDA come to other bits each time it runs, as sentences; () where CUDA is not in use.

    No stop is needed for that, so `is_of_every_run` tells these sentences from others.
    """
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):  # type: ignore[no-untyped-call]
        return ()
    told = []
    if torch.backends.cudnn.benchmark:
        told.append(_BENCHMARK)
    if not torch.are_deterministic_algorithms_enabled():
        told.append(_ORDER)
    return tuple(told)


def is_of_every_run(caveat: str) -> bool:
    """Whether a sentence is one of `nondeterminism`: two runs without a stop differ by it too."""
    return caveat in (_BENCHMARK, _ORDER)


def _device(weights: Any) -> str | None:
    """The kind of device of a module, named modules or a mapping of tensors; None for what has no tensor."""
    values = weights.values() if isinstance(weights, Mapping) else [weights]
    for value in values:
        if isinstance(value, torch.nn.Module):
            value = next(chain(value.parameters(), value.buffers()), None)
        if isinstance(value, torch.Tensor):
            return value.device.type
    return None
