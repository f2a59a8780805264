"""Arrays in the zarr format as Orbax stores them: shape and dtype of each, and its bytes where one chunk holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpt.formats import bounded_json
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.orbax.coding import Coding, second, sizes, third
from ckpt.formats.directories.orbax.database import Value
from ckpt.formats.directories.orbax.frames import decompressed
from ckpt.formats.dtypes import ITEM_BYTES, numpy_dtype
from ckpt.formats.pickled.values import Storage, Tensor
from ckpt.formats.source import Damaged, TooLarge, Unfinished

_DESCRIPTIONS = ("/.zarray", "/zarr.json")
_MAX_DESCRIPTION_BYTES = 1 << 20
_MAX_DESCRIPTIONS_BYTES = 64 << 20  # of all arrays together, which may all name the same bytes of one file
_MAX_CHUNK_BYTES = 256 << 20
_INDEX_BYTES = 20  # a place, a length and a checksum


class Arrays:
    """The arrays of one tree by name. `values` are the keys of its store and where they lie.

    Raises Unfinished when bytes that the store names are not there, Damaged, TooLarge, OSError.
    """

    def __init__(self, folder: Folder, values: Mapping[str, Value]) -> None:
        self._folder = folder
        self._values = values
        self._left = _MAX_DESCRIPTIONS_BYTES
        self.unnamed: set[str] = set()
        """Dtypes that have no name here; arrays of them are left out."""
        for value in values.values():
            _fits(folder, value)
        self.tensors: dict[str, Tensor] = {}
        for key in values:
            for ending in _DESCRIPTIONS:
                if key.endswith(ending):
                    tensor = self._tensor(key.removesuffix(ending), key)
                    if tensor is not None:
                        self.tensors[key.removesuffix(ending)] = tensor

    def _tensor(self, name: str, key: str) -> Tensor | None:
        described = self._description(key)
        shape = sizes(described.get("shape"))
        if shape is None:
            raise Damaged(f"the shape of array {name!r} is none")
        code = described.get("dtype", described.get("data_type"))
        dtype = numpy_dtype(code) if type(code) is str else ""
        if dtype not in ITEM_BYTES:
            self.unnamed.add(str(code)[:40])
            return None
        return Tensor(self._storage(name, described, shape, dtype), 0, shape, _strides(shape), dtype)

    def _description(self, key: str) -> dict[str, Any]:
        raw = read(self._folder, self._values[key], _MAX_DESCRIPTION_BYTES)
        self._left -= len(raw)
        if self._left < 0:
            raise TooLarge(f"the descriptions of its arrays have more than {_MAX_DESCRIPTIONS_BYTES} bytes")
        try:
            found = bounded_json.parse(raw)
        except ValueError:
            found = None
        if type(found) is not dict:
            raise Damaged(f"the description {key!r} of an array is not valid JSON")
        return found

    def _storage(self, name: str, described: dict[str, Any], shape: tuple[int, ...], dtype: str) -> Storage | None:
        """The bytes of an array that lies whole in one chunk; None for any other."""
        count = math.prod(shape)
        length = count * ITEM_BYTES[dtype]
        older = described.get("zarr_format") == 2
        coding = second(described, shape) if older else third(described, shape)
        key = f"{name}/{'.'.join('0' * len(shape)) or '0'}" if older else "/".join([name, "c", *"0" * len(shape)])
        chunk = self._values.get(key)
        if coding is None or chunk is None or length > _MAX_CHUNK_BYTES:
            return None
        return Storage(dtype, name, "cpu", count, _Chunk(self._folder, name, chunk, length, coding))


@dataclass(slots=True)
class _Chunk:
    """Where the bytes of a storage lie: one chunk, compressed or not. Holds the content of the last one read."""

    folder: Folder
    name: str
    value: Value
    length: int
    coding: Coding
    content: bytes | None = None
    big_endian: bool = False

    def __post_init__(self) -> None:
        self.big_endian = self.coding.big_endian

    def stored_bytes(self, storage: Storage) -> int | None:
        del storage
        return self.length

    def checksum(self, storage: Storage) -> int:
        del storage
        return 0

    def bytes_of(self, storage: Storage, start: int, length: int) -> bytes:
        del storage
        if self.content is None:
            raw = read(self.folder, self.value, 2 * _MAX_CHUNK_BYTES)
            if self.coding.indexed:
                raw = self._part(raw)
            content = decompressed(f"array {self.name!r}", raw, self.length) if self.coding.compressed else raw
            if len(content) != self.length:
                raise Damaged(f"array {self.name!r} does not have as many bytes as its shape says")
            self.content = content
        piece = self.content[start : start + length]
        if start + length >= self.length:
            self.content = None  # read to the end, as streams are
        return piece

    def _part(self, raw: bytes) -> bytes:
        """The one part of a chunk that has an index of its parts at its end: where it begins, and its length."""
        if len(raw) < _INDEX_BYTES:
            raise Damaged(f"array {self.name!r} is shorter than its index")
        start, length = (int.from_bytes(raw[at : at + 8], "little") for at in (-_INDEX_BYTES, 8 - _INDEX_BYTES))
        if start + length > len(raw) - _INDEX_BYTES:
            raise Damaged(f"array {self.name!r} is not where its index says")
        return raw[start : start + length]


def read(folder: Folder, value: Value, limit: int) -> bytes:
    """A value's bytes. Raises Damaged for one of more than `limit` bytes, Unfinished, OSError."""
    if value.length > limit:
        raise Damaged(f"a value in {value.file} has {value.length} bytes, more than such a one can have")
    return value.inline if value.inline is not None else folder.source(value.file).read(value.offset, value.length)


def _fits(folder: Folder, value: Value) -> None:
    member = folder.files.get(value.file)
    if member is None:
        raise Unfinished(f"{value.file} is missing")
    if value.inline is None and value.offset + value.length > member.info.st_size:
        raise Unfinished(f"{value.file} ends at byte {member.info.st_size}, before an array that lies in it")


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(1, size)
    return tuple(reversed(strides))
