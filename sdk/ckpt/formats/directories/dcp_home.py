"""The bytes of tensors that are cut into chunks in several files, as if each tensor lay in one piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ckpt.formats.containers.family import Family
from ckpt.formats.containers.strided import CAST, gathered
from ckpt.formats.directories.dcp_grid import Grid, Piece
from ckpt.formats.directories.dcp_metadata import Chunk, Place, Sharded
from ckpt.formats.dtypes import ITEM_BYTES
from ckpt.formats.pickled.values import Storage, Tensor
from ckpt.formats.source import Damaged, Source, TooLarge

_MAX_SCATTERED = 256 << 20


class ShardedHome:
    """A home of storages, each a whole tensor in row-major order, named by the tensor's name.

    `open_slice` gives what reads a chunk's slice of a file. All methods may raise Unreadable and OSError.
    """

    def __init__(
        self, tensors: Mapping[str, Sharded], grids: Mapping[str, Grid], open_slice: Callable[[Place], Family]
    ) -> None:
        self.big_endian = False
        self._tensors = tensors
        self._grids = grids
        self._open_slice = open_slice
        self._found: dict[Place, tuple[Source, int]] = {}
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
        if len(pieces) == 1 and pieces[0].rows == 1:
            whole = self._read(held, pieces[0])
        else:
            joined = bytearray((last - first) * width)
            for piece in pieces:
                _scatter(self._read(held, piece), memoryview(joined), piece, width)
            whole = bytes(joined)
        return whole[begin : begin + length] if len(whole) != length else whole

    def _pieces(self, held: Sharded, start: int, length: int) -> list[Piece]:
        grid = self._grids.get(held.name)
        if grid is None:
            return [Piece(held.chunks[0], start, length, 0, 1, 0)]
        return list(grid.pieces(start, length))

    def _read(self, held: Sharded, piece: Piece) -> bytes:
        width = ITEM_BYTES[held.dtype]
        start, length = piece.start * width, piece.length * width
        place = piece.chunk.place
        if self._straight[0] == place:
            return self._straight[1][start : start + length]
        found = self._found.get(place)
        if found is None:
            family, tensor = self._open(held, piece.chunk)
            if not _row_major(tensor):
                self._straight = (place, _straightened(family, tensor, width))
                return self._straight[1][start : start + length]
            assert tensor.storage is not None
            found = (family.source, family.position(tensor.storage) + tensor.offset * width)
            self._found[place] = found
        source, position = found
        return source.read(position + start, length)

    def _open(self, held: Sharded, chunk: Chunk) -> tuple[Family, Tensor]:
        """A chunk's slice and the tensor in it, which is proved to be what the description says."""
        family = self._open_slice(chunk.place)
        tensor = family.read().top
        if (
            type(tensor) is not Tensor
            or type(tensor.storage) is not Storage
            or tensor.shape != chunk.sizes
            or tensor.dtype != held.dtype
            or type(tensor.stride) is not tuple
            or len(tensor.stride) != len(tensor.shape)
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


def _scatter(data: bytes, into: memoryview, piece: Piece, width: int) -> None:
    row = piece.length // piece.rows * width
    at, step = piece.at * width, piece.stride * width
    code = CAST.get(row)
    if piece.rows > 1 and code is not None and not at % row and not step % row and not len(into) % row:
        cells = into.cast(code)
        cells[at // row : at // row + (piece.rows - 1) * (step // row) + 1 : step // row] = memoryview(data).cast(code)
        return
    for number in range(piece.rows):
        into[at + number * step : at + number * step + row] = data[number * row : (number + 1) * row]
