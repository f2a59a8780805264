"""Values of a file as plain, printable data for people and JSON: bounded, and nothing in it can run or recur."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

from ckpt.encoding import printable
from ckpt.formats.dtypes import decode_items, numpy_dtype
from ckpt.formats.meanings.places import fields_of, unwrapped
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import Global, NumpyArray, NumpyDtype, Opaque, SetOf, Storage, Tensor, mapping_of

MAX_VALUES = 20_000
MAX_DEPTH = 20
MAX_TEXT = 4096
_ARRAY_ITEMS = 16
_INTEGER_LIMIT = 1 << 63


class Plain:
    """Turns values into plain data; all calls on one object share one bound on how much they make."""

    def __init__(self, scalars: Scalars) -> None:
        self._scalars = scalars
        self._left = MAX_VALUES

    def mapping(self, value: Any) -> dict[str, Any]:
        """A mapping as plain data; {} for anything else."""
        found = fields_of(value)
        if found is None:
            return {}
        result = self._mapping(found, 0)
        return result

    def value(self, value: Any, depth: int = 0) -> Any:
        """Any value as text, number, boolean, None, list or mapping."""
        self._left -= 1
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int:
            return value if -_INTEGER_LIMIT <= value < _INTEGER_LIMIT else hex(value)[:MAX_TEXT]
        if type(value) is str:
            return self._text(value)
        if self._left < 0 or depth >= MAX_DEPTH:
            return "…"
        if type(value) is dict:
            return self._mapping(value, depth)
        if type(value) in (list, tuple):
            return self._listing(value, depth)
        if type(value) is SetOf:
            return sorted(self._listing(value.items, depth), key=_sort_key)
        if type(value) is Opaque:
            wrapped = unwrapped(value)
            return self._object(value, depth) if wrapped is value else self.value(wrapped, depth + 1)
        return self._leaf(value)

    def _text(self, value: str) -> str:
        self._left -= min(len(value), MAX_TEXT) >> 6
        if self._left < 0:
            return "…"
        return printable(value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…")

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in value.items():
            if self._left < 0:
                result["…"] = f"{len(value) - len(result)} more"
                break
            text = key if type(key) is str else str(key)
            result[self._text(text)] = self.value(item, depth + 1)
        return result

    def _listing(self, items: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        result: list[Any] = []
        for item in items:
            if self._left < 0:
                result.append("…")
                break
            result.append(self.value(item, depth + 1))
        return result

    def _object(self, value: Opaque, depth: int) -> Any:
        fields = mapping_of(value)
        if fields is not None:
            return self._mapping(fields, depth)
        if value.items:
            return self._listing(value.items, depth)
        if len(value.args) == 1 and type(value.args[0]) in (str, int, float, bool):
            return self.value(value.args[0], depth)  # an enumeration's member is made of its value
        return printable(f"<{value.path}>"[:MAX_TEXT])

    def _leaf(self, value: Any) -> Any:
        if type(value) is Tensor:
            number = self._scalars.number(value)
            shape = value.shape if type(value.shape) is tuple and len(value.shape) <= 8 else ()
            sizes = ", ".join(str(n) for n in shape if type(n) is int and n < _INTEGER_LIMIT)
            return number if number is not None else f"<tensor {value.dtype} [{sizes}]>"
        if type(value) is NumpyArray:
            return _array(value)
        if type(value) is NumpyDtype:
            return numpy_dtype(printable(value.code[:64]))
        if type(value) is Storage:
            return f"<storage {value.dtype} {min(value.count, _INTEGER_LIMIT)}>"
        if type(value) is Global:
            return printable(value.path[:MAX_TEXT])
        if type(value) is bytes:
            return f"<{len(value)} bytes>"
        if isinstance(value, datetime.date):
            return value.isoformat()
        return str(value) if isinstance(value, complex | datetime.timedelta | datetime.timezone) else "<value>"


def _array(value: NumpyArray) -> Any:
    if value.dtype is None:
        return "<array>"
    dtype = numpy_dtype(value.dtype.code)
    sound = all(type(n) is int and 0 <= n < _INTEGER_LIMIT for n in value.shape) and len(value.shape) <= 8
    if sound and len(value.shape) <= 1 and math.prod(value.shape) <= _ARRAY_ITEMS:
        items = decode_items(value.data, dtype, big_endian=value.dtype.big_endian)
        if items is not None and len(items) == math.prod(value.shape):
            shown = [str(item) if isinstance(item, complex) else item for item in items]
            return shown if value.shape else shown[0]
    sizes = ", ".join(map(str, value.shape)) if sound else "?"
    return f"<array {printable(dtype[:64])} [{sizes}]>"


def _sort_key(value: Any) -> tuple[str, str]:
    return type(value).__name__, str(value)[:MAX_TEXT]
