"""Numbers in a tree of values, those included that are kept in tensors of one element."""

from __future__ import annotations

from typing import Any

from ckpt.formats import dtypes
from ckpt.formats.pickled.values import Tensor

_READS = 256
_INTEGERS = 1 << 63


class Scalars:
    """Reads numbers; all calls on one object share one bound on how many are fetched from tensors."""

    def __init__(self) -> None:
        self._left = _READS

    def number(self, value: Any) -> int | float | None:
        """The value as a number; None when it is none. Raises Unreadable and OSError.

        Booleans are none, and integers beyond 64 bits are none of a training's.
        """
        kind = type(value)
        if kind is int:
            return value if -_INTEGERS <= value < _INTEGERS else None
        if kind is float:
            return value  # type: ignore[no-any-return]
        if kind is Tensor:
            return self._element(value)
        return None

    def _element(self, tensor: Tensor) -> int | float | None:
        held = tensor.storage
        width = dtypes.ITEM_BYTES.get(tensor.dtype, 0)
        if held is None or held.home is None or tensor.shape not in ((), (1,)) or not 0 < width <= 8:
            return None
        if type(tensor.offset) is not int or self._left <= 0:
            return None
        stored = held.home.stored_bytes(held)
        start = tensor.offset * width
        if stored is None or start < 0 or start + width > stored:
            return None
        self._left -= 1
        raw = held.home.bytes_of(held, start, width)
        found = dtypes.decode_items(raw, tensor.dtype, big_endian=held.home.big_endian)
        if not found or isinstance(found[0], bool | complex):
            return None
        return found[0]
