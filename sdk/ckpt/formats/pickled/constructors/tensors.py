"""Tensors as torch's own reductions rebuild them, and what describes one: size, device, layout."""

from __future__ import annotations

from typing import Any

from ckpt.formats import dtypes
from ckpt.formats.pickled.calls import construct
from ckpt.formats.pickled.constructors.arguments import SHORT, integers, text
from ckpt.formats.pickled.local import local_part
from ckpt.formats.pickled.values import Budget, Builder, Opaque, Tensor

_MAX_DIMENSIONS = 64
_WRAPPER = "torch._utils._rebuild_wrapper_subclass"


def _dtype_name(value: Any) -> str:
    name = dtypes.torch_dtype(value.path.rpartition(".")[2])
    if name is None:
        raise ValueError(value.path)
    return name


def _tensor(args: tuple[Any, ...], budget: Budget) -> Any:
    held = args[0]
    return Tensor(held, args[1], args[2], args[3], held.dtype)


def _tensor_v3(args: tuple[Any, ...], budget: Budget) -> Any:
    return Tensor(args[0], args[1], args[2], args[3], _dtype_name(args[6]))


def _meta_tensor(args: tuple[Any, ...], budget: Budget) -> Any:
    return Tensor(None, 0, args[1], args[2], _dtype_name(args[0]))


def _first(args: tuple[Any, ...], budget: Budget) -> Any:
    return args[0]


def _from_type(args: tuple[Any, ...], budget: Budget) -> Any:
    if args[0].builder is _from_type:
        raise ValueError("a subclass of a subclass")
    held = local_part(args[3]) if len(args) > 3 and args[0].path == _WRAPPER else None
    return construct(args[0], args[2], budget) if held is None else held


def _sparse(args: tuple[Any, ...], budget: Budget) -> Any:
    layout, parts = args
    names = ("indices", "values") if layout == "torch.sparse_coo" else ("compressed", "plain", "values")
    return Opaque("torch.sparse", (), dict(zip(names, parts, strict=False)))


def _nested(args: tuple[Any, ...], budget: Budget) -> Any:
    return Opaque("torch.nested", (), dict(zip(("buffer", "sizes", "strides", "offsets"), args, strict=False)))


def _size(args: tuple[Any, ...], budget: Budget) -> Any:
    if args and (type(args[0]) not in (list, tuple) or len(args[0]) > _MAX_DIMENSIONS):
        raise TypeError("not a size")
    return tuple(args[0]) if args else ()


def _device(args: tuple[Any, ...], budget: Budget) -> Any:
    kind, *index = args
    if len(text(kind)) > SHORT or len(index) > 1:
        raise ValueError("not a device")
    return ":".join([kind, *map(str, integers(index))])


def _text(args: tuple[Any, ...], budget: Budget) -> Any:
    return text(args[0])


ROWS: dict[str, Builder] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta_tensor,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.serialization._get_layout": _text,
    "torch.torch_version.TorchVersion": _text,
    "torch.Size": _size,
    "torch.device": _device,
}
