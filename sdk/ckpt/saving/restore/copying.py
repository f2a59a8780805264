"""One tensor over another: whether that can be done, told before it is tried; and how."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import parameter

from ckpt.saving.envelope.tensors import array_of

_ORDINARY = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def obstacle(own: Any, saved: Any) -> str | None:
    """Why a saved value cannot be copied over a model's own, as words; None when it can. Pure."""
    if isinstance(own, torch.Tensor | np.ndarray) != isinstance(saved, torch.Tensor):
        return f"a {type(saved).__name__} in the checkpoint, a {type(own).__name__} in the model"
    if isinstance(own, np.ndarray) and not own.flags.writeable:
        return "the model's array is read-only"
    if isinstance(saved, torch.Tensor) and saved.is_meta:
        return "it was loaded without data, on the meta device"
    if not isinstance(own, torch.Tensor) or is_lazy(own):
        return None
    if own.is_meta:
        return "the model's has no memory, it is on the meta device"
    if own.is_inference() and not torch.is_inference_mode_enabled():
        return "the model's is an inference tensor, which cannot be changed"
    if own.layout is not saved.layout:
        return f"{saved.layout} in the checkpoint, {own.layout} in the model"
    if own.layout is torch.strided and any(
        step == 0 and size > 1 for step, size in zip(own.stride(), own.shape, strict=True)
    ):
        return "several elements of the model's lie at the same place in memory"
    return None


def is_lazy(value: Any) -> bool:
    """Whether a tensor has neither shape nor data yet."""
    return bool(parameter.is_lazy(value))


def is_ordinary(value: Any) -> bool:
    """Whether copying over a value that no `obstacle` speaks against cannot be refused."""
    if isinstance(value, torch.Tensor):
        return type(value) in _ORDINARY and value.layout is torch.strided and not value.is_quantized
    return isinstance(value, np.ndarray)


def overwrite(own: Any, value: Any) -> None:
    """Copies a tensor over a tensor or an array."""
    if isinstance(own, np.ndarray):
        tensor = value.detach().cpu() if isinstance(value, torch.Tensor) else torch.from_numpy(value)
        np.copyto(own, array_of(tensor, str(tensor.dtype).removeprefix("torch.")), casting="unsafe")
    else:
        with torch.no_grad():
            own.copy_(value)


def kept(value: Any) -> Any:
    """A copy of a model's own value that loading another does not change; lazy ones have nothing to keep."""
    if isinstance(value, torch.Tensor):
        return value if is_lazy(value) else value.detach().clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def shape_of(value: Any) -> tuple[int, ...]:
    """Shape of a tensor or array; () for plain data, and for what gets its shape with its data."""
    if isinstance(value, torch.Tensor | np.ndarray) and not is_lazy(value):
        return tuple(value.shape)
    return ()


def dtype_of(value: Any) -> str | None:
    """Name of the dtype of a tensor or array; None for plain data."""
    return str(value.dtype).removeprefix("torch.") if isinstance(value, torch.Tensor | np.ndarray) else None
