"""Tensors whose elements lie in pieces of several others, perhaps in several files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from ckpt.formats.dtypes import ITEM_BYTES
from ckpt.formats.pickled.values import Home, Storage, Tensor
from ckpt.formats.source import Damaged


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements of a flat tensor (see `is_flat`): `count` from its element `start` on, all within it."""

    flat: Tensor
    start: int
    count: int


class Joined(Home):
    """The bytes of some pieces one after another; the bytes of each are read from where they lie."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = tuple(pieces)
        first = pieces[0].flat.storage if pieces else None
        self.big_endian = first.home.big_endian if first is not None and first.home is not None else False

    def stored_bytes(self, storage: Storage) -> int | None:
        return sum(piece.count for piece in self._pieces) * ITEM_BYTES[storage.dtype]

    def checksum(self, storage: Storage) -> int:
        return 0

    def bytes_of(self, storage: Storage, start: int, length: int) -> bytes:
        width = ITEM_BYTES[storage.dtype]
        parts: list[bytes] = []
        passed = 0
        for piece in self._pieces:
            size = piece.count * width
            begin, end = max(start - passed, 0), min(start + length - passed, size)
            passed += size
            if begin >= end:
                continue
            held = piece.flat.storage
            if held is None or held.home is None:
                raise Damaged("a piece of the tensor is nowhere")
            first = (piece.flat.offset + piece.start) * width
            parts.append(held.home.bytes_of(held, first + begin, end - begin))
        return b"".join(parts)


def is_flat(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor of one dimension whose elements lie side by side, all of them in its storage."""
    if type(value) is not Tensor or value.storage is None or type(value.offset) is not int or value.offset < 0:
        return False
    shape, stride, home = value.shape, value.stride, value.storage.home
    if type(shape) is not tuple or type(stride) is not tuple or len(shape) != 1 or type(shape[0]) is not int:
        return False
    if home is None or shape[0] < 0 or (stride != (1,) and shape[0] > 1):
        return False
    stored = home.stored_bytes(value.storage)
    return stored is not None and (value.offset + shape[0]) * ITEM_BYTES[value.dtype] <= stored


def join(pieces: Sequence[Piece], shape: tuple[int, ...], dtype: str) -> Tensor:
    """A tensor of that shape whose elements are those of the pieces, all of `dtype`."""
    stride, elements = [], 1
    for extent in reversed(shape):
        stride.append(elements)
        elements *= extent
    flats = [piece.flat.storage for piece in pieces]
    parts = tuple(flat for flat in flats if flat is not None)
    storage = Storage(dtype, "", "cpu", math.prod(shape), Joined(pieces), parts)
    return Tensor(storage, 0, shape, tuple(reversed(stride)), dtype)
