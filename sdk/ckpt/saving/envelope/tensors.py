"""Tensors as a file can hold them, and arrays as tensors."""

from __future__ import annotations

import functools
import io
import pickle
from typing import Any

import ml_dtypes
import numpy as np
import torch

from ckpt.exceptions import StateError

_LAYOUTS = frozenset(
    {torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}
)


def has_storage(tensor: torch.Tensor) -> bool:
    """Whether a tensor is an ordinary one: numbers at even distances in one piece of memory."""
    if type(tensor) is torch.Tensor:
        return tensor.layout is torch.strided and not tensor.is_meta
    if torch.nn.parameter.is_lazy(tensor) or tensor.layout is not torch.strided or tensor.is_meta:
        return False
    return type(tensor) in (torch.Tensor, torch.nn.Parameter) or type(tensor.detach()) is torch.Tensor


def storable(tensor: torch.Tensor, where: str) -> torch.Tensor:
    """The tensor without its graph, over the same memory. Raises StateError for one that a file cannot hold."""
    if torch.nn.parameter.is_lazy(tensor):
        raise StateError(f"{where} has no shape yet", hint="let the module see one batch first")
    plain = tensor.detach()
    if type(plain) is not torch.Tensor or plain.is_meta:
        raise StateError(
            f"{where} is a {type(plain).__name__} on {plain.device}, which a checkpoint cannot hold",
            hint="store an ordinary tensor that has data, such as the full tensor of a sharded one",
        )
    if plain.layout not in _LAYOUTS:
        raise StateError(f"{where} is a tensor of layout {plain.layout}", hint="store its to_dense()")
    if not _is_known(plain):
        raise StateError(f"{where} is a tensor of {plain.dtype}, which torch does not store", hint="store it as int8")
    if has_storage(plain) and _reaches(plain) > plain.untyped_storage().nbytes():
        raise StateError(
            f"{where} is a tensor of {list(plain.shape)} without its memory",
            hint="save while its parameters are gathered, as with summon_full_params() or full_tensor()",
        )
    return plain


def tensor_of(array: np.ndarray[Any, Any], where: str = "array") -> torch.Tensor:
    """A tensor over the memory of an array, of the same dtype. Raises StateError for a dtype that torch lacks."""
    name = array.dtype.name
    dtype = getattr(torch, name, None)
    if array.dtype.byteorder == ">" or not isinstance(dtype, torch.dtype) or not _is_stored(dtype):
        raise StateError(
            f"{where} is an array of {array.dtype}, which cannot be stored as a tensor",
            hint="store an array of numbers in native byte order of a dtype that torch has too",
        )
    flat = np.asarray(array, order="C").reshape(-1)
    if not flat.size:
        return torch.empty(array.shape, dtype=dtype)
    if not flat.flags.writeable:
        flat = flat.copy()
    return torch.from_numpy(flat.view(np.uint8)).view(dtype).reshape(array.shape)


def array_of(tensor: torch.Tensor, dtype: str) -> np.ndarray[Any, Any]:
    """An array over the memory of a tensor. Raises TypeError for a dtype that NumPy lacks."""
    np_dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    if not tensor.numel():
        return np.empty(tuple(tensor.shape), np_dtype)
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw.view(np_dtype).reshape(tuple(tensor.shape))


def stored_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The dtype that a file gives to the memory of a tensor; for the newer ones, bytes."""
    is_new = tensor.dtype in torch.storage._new_dtypes()
    return torch.uint8 if is_new else tensor.dtype


def _is_known(tensor: torch.Tensor) -> bool:
    if not tensor.is_quantized:
        return _is_stored(tensor.dtype)
    try:
        tensor.qscheme()
    except RuntimeError:
        return False
    return True


@functools.cache
def _is_stored(dtype: torch.dtype) -> bool:
    """Whether torch stores tensors of a dtype and reads them again; it says so nowhere, so it is tried."""
    stream = io.BytesIO()
    try:
        torch.save(torch.empty(0, dtype=dtype), stream)
        stream.seek(0)
        torch.load(stream, weights_only=True, mmap=False)
    except (KeyError, RuntimeError, TypeError, AttributeError, pickle.UnpicklingError):
        return False
    return True


def _reaches(tensor: torch.Tensor) -> int:
    """How many bytes from the start of its storage a tensor's last element ends."""
    if not tensor.numel() or tensor.is_quantized or tensor.is_nested:
        return 0
    if tensor.is_contiguous():
        return int((tensor.storage_offset() + tensor.numel()) * tensor.element_size())
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int((tensor.storage_offset() + steps + 1) * tensor.element_size())
