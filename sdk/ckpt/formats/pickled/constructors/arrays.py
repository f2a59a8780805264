"""Numpy's dtypes, scalars and arrays."""

from __future__ import annotations

from typing import Any

from ckpt.formats import dtypes
from ckpt.formats.pickled.constructors.arguments import SHORT, few_bytes
from ckpt.formats.pickled.values import Budget, Builder, NumpyArray, NumpyDtype


def _numpy_dtype(args: tuple[Any, ...], budget: Budget) -> Any:
    code = args[0]
    return NumpyDtype(code if type(code) is str and len(code) <= SHORT else "object")


def _numpy_scalar(args: tuple[Any, ...], budget: Budget) -> Any:
    kind, raw = args[0], few_bytes(args[1])
    if type(kind) is not NumpyDtype:
        raise TypeError("not a scalar")
    if kind.code.startswith("U"):
        return raw.decode("utf-32-be" if kind.big_endian else "utf-32-le").rstrip("\0")
    numbers = dtypes.decode_items(raw, dtypes.numpy_dtype(kind.code), big_endian=kind.big_endian)
    if numbers is None or len(numbers) != 1:
        raise ValueError(kind.code)
    return numbers[0]


def _numpy_array(args: tuple[Any, ...], budget: Budget) -> Any:
    return NumpyArray()


def _numpy_frombuffer(args: tuple[Any, ...], budget: Budget) -> Any:
    data, kind, shape, order = args
    if type(data) is not bytes or type(kind) is not NumpyDtype or type(shape) is not tuple:
        raise TypeError("not an array")
    return NumpyArray(kind, shape, order == "F", data)


ROWS: dict[str, Builder] = {
    "numpy.dtype": _numpy_dtype,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _numpy_array,
    "numpy.core.numeric._frombuffer": _numpy_frombuffer,
}
