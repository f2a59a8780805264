"""The tensors of a tree of values: names, shapes, sizes, where their bytes lie, and whether that can be true."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ckpt.formats.dtypes import ITEM_BYTES
from ckpt.formats.pickled.values import Home, Storage, Tensor
from ckpt.formats.pickled.walk import Omissions, walk
from ckpt.formats.source import Damaged, TooLarge
from ckpt.records import TensorInfo

MAX_TENSORS = 500_000
_MAX_DIMENSIONS = 64
_MAX_ELEMENTS = 1 << 60


@dataclass(slots=True)
class Placed:
    """A tensor of a file whose geometry has been checked against its storage.

    `start` and `span` are bytes: of the view's first element in the storage, and from there behind its last.
    `home` is where the storage lies; None for a tensor without bytes.
    """

    info: TensorInfo
    tensor: Tensor
    contiguous: bool
    start: int
    span: int
    stored: int
    home: Home | None

    @property
    def elements(self) -> int:
        """Number of elements of the view."""
        return math.prod(self.info.shape)


def collect(top: Any, omissions: Omissions) -> list[Placed]:
    """All tensors of the tree in the order of the file, under unique names.

    Raises Damaged when one looks outside of its storage or its storage is not in the file, TooLarge.
    """
    found: list[Placed] = []
    taken: dict[str, int] = {}
    for name, value in walk(top, omissions):
        if type(value) is not Tensor:
            continue
        if not name:
            name = "tensor"
        if name in taken:
            base, number = name, taken[name] + 1
            while (name := f"{base}#{number}") in taken:
                number += 1
            taken[base] = number
        taken[name] = 1
        found.append(_place(name, value))
        if len(found) > MAX_TENSORS:
            raise TooLarge(f"it holds more than {MAX_TENSORS} tensors")
    return found


def _place(name: str, tensor: Tensor) -> Placed:
    shape, stride, dtype = tensor.shape, tensor.stride, tensor.dtype
    if type(shape) is not tuple or type(stride) is not tuple or len(shape) != len(stride):
        raise Damaged(f"tensor {name!r} has no shape")
    if len(shape) > _MAX_DIMENSIONS:
        raise Damaged(f"tensor {name!r} has {len(shape)} dimensions")
    width = ITEM_BYTES[dtype]
    elements, reach, contiguous = 1, 0, True
    for index in range(len(shape) - 1, -1, -1):
        extent, step = shape[index], stride[index]
        if type(extent) is not int or type(step) is not int or extent < 0 or step < 0 or step > _MAX_ELEMENTS:
            raise Damaged(f"tensor {name!r} has a shape or stride that no tensor has")
        if extent != 1 and step != elements:
            contiguous = False
        reach += (extent - 1) * step
        elements *= extent
        if elements > _MAX_ELEMENTS:
            raise Damaged(f"tensor {name!r} is larger than any memory")
    start, span, stored = 0, 0, 0
    home: Home | None = None
    if tensor.storage is not None:
        if type(tensor.offset) is not int or tensor.offset < 0 or type(tensor.storage) is not Storage:
            raise Damaged(f"tensor {name!r} has no place in its storage")
        start = tensor.offset * width
        span = (reach + 1) * width if elements else 0
        home = tensor.storage.home
        stored = _stored(name, tensor.storage)
        if elements and start + span > stored:
            raise Damaged(f"tensor {name!r} looks outside of its storage")
    info = TensorInfo(name=name, shape=shape, dtype=dtype, bytes=elements * width)
    return Placed(info, tensor, contiguous or not elements, start, span, stored, home)


def _stored(name: str, storage: Storage) -> int:
    stored = None if storage.home is None else storage.home.stored_bytes(storage)
    if stored is None:
        raise Damaged(f"the bytes of tensor {name!r} are not in the file")
    if stored < storage.count * ITEM_BYTES[storage.dtype]:
        raise Damaged(f"the bytes of tensor {name!r} are not all in the file")
    return stored


def hint(placed: Placed) -> str | None:
    """What tells a tensor's bytes from others without reading them; None when the file states no checksum."""
    storage = placed.tensor.storage
    if storage is None or placed.home is None or not placed.span:
        return None
    checksum = placed.home.checksum(storage)
    if not checksum:
        return None
    layout = "c" if placed.contiguous else "x".join(map(str, placed.tensor.stride))
    return f"crc32:{checksum:08x}:{placed.stored}:{placed.start}:{layout}"


def whole_storage(placed: Placed) -> bool:
    """Whether the tensor is exactly its storage, so that another checksum means other values."""
    return placed.contiguous and placed.start == 0 and placed.span == placed.stored
