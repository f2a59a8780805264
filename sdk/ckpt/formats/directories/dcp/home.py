"""The bytes of tensors that are cut into chunks in several files, as if each tensor lay in one piece."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from ckpt.formats.containers.family import Family
from ckpt.formats.containers.strided import CAST, gathered
from ckpt.formats.directories.dcp.grid import Grid, Piece
from ckpt.formats.directories.dcp.metadata import Chunk, Place, Sharded
from ckpt.formats.dtypes import ITEM_BYTES
from ckpt.formats.pickled.values import Home, Storage, Tensor
from ckpt.formats.source import Damaged, TooLarge

_MAX_SCATTERED = 256 << 20


class Slices(Protocol):
    """Where the slices of files are opened and read."""

    def open_slice(self, place: Place) -> Family:
        """What reads the file of its own in a slice, proved whole."""

    def read_slice(self, place: Place, start: int, length: int) -> bytes:
        """`length` bytes of a slice from its byte `start` on."""


class ShardedHome(Home):
    """A home of storages, each a whole tensor in row-major order, named by the tensor's name.

    All methods may raise Unreadable and OSError.
    """

    def __init__(self, tensors: Mapping[str, Sharded], grids: Mapping[str, Grid], slices: Slices) -> None:
        self.big_endian = False
        self._tensors = tensors
        self._grids = grids
        self._slices = slices
        self._positions: dict[Place, int] = {}
        self._straight: tuple[Place | None, bytes] = (None, b"")

    def tensor(self, name: str) -> Tensor:
        """A tensor of the checkpoint as a description that knows where its bytes lie."""
        held = self._tensors[name]
        strides = [1] * len(held.shape)
        for dimension in range(len(held.shape) - 2, -1, -1):
            strides[dimension] = strides[dimension + 1] * max(1, held.shape[dimension + 1])
        storage = Storage(held.dtype, name, "cpu", math.prod(held.shape), self)
        return Tensor(storage, 0, held.shape, tuple(strides), held.dtype)

    def stored_bytes(self, storage: Storage) -> int | None:
        held = self._tensors.get(storage.key)
        return None if held is None else math.prod(held.shape) * ITEM_BYTES[held.dtype]

    def checksum(self, storage: Storage) -> int:
        """0: each chunk has one, the tensor has none."""
        return 0

    def bytes_of(self, storage: Storage, start: int, length: int) -> bytes:
        held = self._tensors[storage.key]
        width = ITEM_BYTES[held.dtype]
        if start < 0 or length < 0 or start + length > math.prod(held.shape) * width:
            raise Damaged(f"tensor {storage.key!r} has no bytes {start} to {start + length}")
        if not length:
            return b""
        first, last = start // width, -(-(start + length) // width)
        begin = start - first * width
        pieces = list(self._pieces(held, first, last - first))
        if len(pieces) == 1 and pieces[0].row == pieces[0].length:
            whole = self._read(held, pieces[0])
        else:
            joined = bytearray((last - first) * width)
            for piece in pieces:
                _scatter(memoryview(self._read(held, piece)), memoryview(joined), piece, width)
            whole = bytes(joined)
        return whole[begin : begin + length] if len(whole) != length else whole

    def _pieces(self, held: Sharded, start: int, length: int) -> list[Piece]:
        grid = self._grids.get(held.name)
        if grid is None:
            return [Piece(held.chunks[0], start, length, at=0, row=length)]
        return list(grid.pieces(start, length))

    def _read(self, held: Sharded, piece: Piece) -> bytes:
        width = ITEM_BYTES[held.dtype]
        start, length = piece.start * width, piece.length * width
        place = piece.chunk.place
        if self._straight[0] == place:
            return self._straight[1][start : start + length]
        position = self._positions.get(place)
        if position is None:
            family, tensor = self._open(held, piece.chunk)
            if not _row_major(tensor):
                self._straight = (place, _straightened(family, tensor, width))
                return self._straight[1][start : start + length]
            assert tensor.storage is not None
            position = self._positions[place] = family.position(tensor.storage) + tensor.offset * width
        return self._slices.read_slice(place, position + start, length)

    def _open(self, held: Sharded, chunk: Chunk) -> tuple[Family, Tensor]:
        """A chunk's slice and the tensor in it, which is proved to be what the description says."""
        family = self._slices.open_slice(chunk.place)
        tensor = family.read().top
        if (
            type(tensor) is not Tensor
            or type(tensor.storage) is not Storage
            or tensor.shape != chunk.sizes
            or tensor.dtype != held.dtype
            or type(tensor.stride) is not tuple
            or len(tensor.stride) != len(tensor.shape)
            or family.big_endian
            or not all(type(step) is int and 0 <= step < 1 << 60 for step in (*tensor.stride, tensor.offset))
        ):
            raise Damaged(f"a chunk of tensor {held.name!r} is not what .metadata says")
        width = ITEM_BYTES[held.dtype]
        reach = sum((extent - 1) * step for extent, step in zip(tensor.shape, tensor.stride, strict=True))
        stored = family.stored_bytes(tensor.storage)
        if stored is None or (tensor.offset + reach + 1) * width > stored:
            raise Damaged(f"a chunk of tensor {held.name!r} looks outside of its storage")
        return family, tensor


def _row_major(tensor: Tensor) -> bool:
    step = 1
    for extent, stride in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
        if extent != 1 and stride != step:
            return False
        step *= extent
    return True


def _straightened(family: Family, tensor: Tensor, width: int) -> bytes:
    """A chunk whose elements lie in another order, in row-major order; held whole."""
    held = tensor.storage
    assert held is not None
    size = math.prod(tensor.shape) * width
    if size > _MAX_SCATTERED:
        raise TooLarge(f"a chunk of {size} bytes whose elements lie in another order is more than is read")
    return b"".join(
        gathered(
            lambda start, length: family.bytes_of(held, start, length),
            tensor.offset * width,
            tensor.shape,
            tensor.stride,
            width,
        )
    )


def _scatter(data: memoryview, into: memoryview, piece: Piece, width: int) -> None:
    """Copies what was read of a piece to where it stands in the wanted run."""
    row, step, count = piece.row * width, piece.stride * width, piece.count
    code = CAST.get(row)
    aligned = count > 1 and not step % row and not len(into) % row
    done = 0
    for group in piece.groups():
        at = group * width
        if code is not None and aligned and not at % row:
            first, every = at // row, step // row
            cells = data[done : done + count * row].cast(code)
            into.cast(code)[first : first + (count - 1) * every + 1 : every] = cells
        else:
            for number in range(count):
                here = done + number * row
                into[at + number * step : at + number * step + row] = data[here : here + row]
        done += count * row
