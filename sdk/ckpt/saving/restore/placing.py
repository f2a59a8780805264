"""Where what is loaded goes: `map_location`, checked before a file is opened, and kept from what lives on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ckpt.exceptions import UsageError
from ckpt.saving.envelope import read_envelope
from ckpt.saving.envelope.places import PLACES, WEIGHTS

_MOVED = frozenset({*WEIGHTS, *PLACES["optimizer"]})
"""What is used where the model is; all else is numbers, arrays, and states of generators, which live on the CPU."""


def check_location(map_location: Any) -> None:
    """Raises UsageError for a `map_location` that is none, or names a device that is not here."""
    if map_location is None or callable(map_location):
        return
    if isinstance(map_location, Mapping):
        for place in map_location.values():
            check_location(place)
        return
    if not isinstance(map_location, str | torch.device):
        raise UsageError(
            f"map_location is a {type(map_location).__name__}", hint="give a device such as 'cpu' or 'cuda:0'"
        )
    try:
        torch.empty(0, device=map_location)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"map_location '{map_location}' cannot be used here: {reason}", hint="map_location='cpu' works everywhere"
        ) from error


def read_placed(path: Path, map_location: Any) -> dict[str, Any]:
    """The mapping in a checkpoint file, with weights and optimizers where `map_location` says, all else on the CPU.

    Raises as `read_envelope` does.
    """
    envelope = read_envelope(path, map_location)
    if _is_cpu(map_location):
        return envelope
    if not any(name in envelope for name in WEIGHTS):
        return envelope
    with open(path, "rb") as stream:
        is_zip = stream.read(2) == b"PK"
    on_cpu = read_envelope(path, "cpu", mapped=is_zip)
    return {name: envelope[name] if name in _MOVED else _in_memory(value) for name, value in on_cpu.items()}


def _in_memory(value: Any) -> Any:
    """The value with tensors of its own in the places of those that lie in a file; mappings and lists are changed."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _in_memory(item)
    elif isinstance(value, list):
        value[:] = map(_in_memory, value)
    elif type(value) is tuple:
        return tuple(map(_in_memory, value))
    return value


def _is_cpu(map_location: Any) -> bool:
    return isinstance(map_location, str | torch.device) and torch.device(map_location).type == "cpu"
