"""What the `.metadata` of a torch distributed checkpoint says, as records: which chunks make up each tensor and where
each chunk and each other value lies.

The file is a pickle of `torch.distributed.checkpoint.metadata.Metadata`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt.formats.dtypes import torch_dtype
from ckpt.formats.pickled.keys import chunk_key
from ckpt.formats.pickled.values import Global, Opaque
from ckpt.formats.source import Damaged, TooLarge

MAX_CHUNKS = 1_000_000
_MAX_DIMENSIONS = 64
_LARGEST = 1 << 60
_MODULE = "torch.distributed.checkpoint."


@dataclass(frozen=True, slots=True)
class Place:
    """A slice of a file, named relative to the directory, in bytes; `transforms` name what it went through."""

    file: str
    offset: int
    length: int
    transforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A box of a tensor: where it begins and how far it goes in each dimension, in elements."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Sharded:
    """A tensor and the chunks that hold its elements, those without elements left out."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]


@dataclass(slots=True)
class Described:
    """A checkpoint's description.

    `values` are the places of what is no tensor by name; `paths` are the keys on the way to a name in the state as it
    was before it was flattened.
    """

    tensors: dict[str, Sharded] = field(default_factory=dict)
    values: dict[str, Place] = field(default_factory=dict)
    paths: dict[str, tuple[str | int, ...]] = field(default_factory=dict)
    omitted: list[str] = field(default_factory=list)
    save_id: str = ""


def own_name(name: str) -> bool:
    """Whether a name that a pickle imports is one of the description's own records."""
    return name.startswith(_MODULE)


def describe(value: Any) -> Described:
    """The description in the pickle's value.

    Raises Damaged for what no writer of such checkpoints makes, TooLarge for more chunks than are followed.
    """
    fields = _fields(value, "Metadata")
    entries, stored = fields.get("state_dict_metadata"), fields.get("storage_data")
    if type(entries) is not dict or type(stored) is not dict:
        raise Damaged("its .metadata lists no tensors or no places")
    found = Described(paths=_paths(fields.get("planner_data")))
    meta = fields.get("storage_meta")
    saved = meta.attributes().get("save_id") if type(meta) is Opaque else None
    found.save_id = saved if type(saved) is str else ""
    left = MAX_CHUNKS
    for name, entry in entries.items():
        if type(name) is not str or type(entry) is not Opaque:
            raise Damaged("its .metadata lists what is neither a tensor nor a value")
        if entry.path.endswith(".BytesStorageMetadata"):
            found.values[name] = _place(stored, name, None)
            continue
        described = _fields(entry, "TensorStorageMetadata")
        dtype = _dtype(described.get("properties"))
        if dtype is None:
            found.omitted.append("tensors of an element type that is not known")
            continue
        chunks = described.get("chunks")
        if type(chunks) is not list:
            raise Damaged(f"tensor {name!r} has no list of chunks")
        left -= len(chunks)
        if left < 0:
            raise TooLarge(f"its tensors have more than {MAX_CHUNKS} chunks")
        shape = _extents(described.get("size"), name)
        found.tensors[name] = Sharded(name, dtype, shape, tuple(_chunks(name, len(shape), chunks, stored)))
    return found


def merged(parts: Iterable[Described]) -> Described:
    """What several ranks describe, each its own chunks, as one; of what two of them hold the first counts.

    Raises Damaged where they contradict each other.
    """
    whole = Described()
    for part in parts:
        whole.values = {**part.values, **whole.values}
        whole.paths = {**part.paths, **whole.paths}
        whole.omitted += part.omitted
        whole.save_id += part.save_id
        for name, tensor in part.tensors.items():
            known = whole.tensors.get(name)
            if known is None:
                whole.tensors[name] = tensor
                continue
            if (known.dtype, known.shape) != (tensor.dtype, tensor.shape):
                raise Damaged(f"two ranks describe tensor {name!r} in two ways")
            chunks = {(chunk.offsets, chunk.sizes): chunk for chunk in (*tensor.chunks, *known.chunks)}
            whole.tensors[name] = Sharded(name, known.dtype, known.shape, tuple(chunks.values()))
    return whole


def _fields(value: Any, kind: str) -> Mapping[Any, Any]:
    if type(value) is not Opaque or value.path != f"{_MODULE}metadata.{kind}":
        raise Damaged(f"its .metadata holds something else in place of a {kind}")
    return value.attributes()


def _chunks(name: str, dimensions: int, chunks: list[Any], stored: Mapping[Any, Any]) -> Iterable[Chunk]:
    for value in chunks:
        fields = _fields(value, "ChunkStorageMetadata")
        offsets, sizes = _extents(fields.get("offsets"), name), _extents(fields.get("sizes"), name)
        if len(offsets) != dimensions or len(sizes) != dimensions:
            raise Damaged(f"a chunk of tensor {name!r} has other dimensions than the tensor")
        if all(sizes):
            yield Chunk(offsets, sizes, _place(stored, name, offsets))


def _extents(value: Any, name: str) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > _MAX_DIMENSIONS:
        raise Damaged(f"tensor {name!r} has no shape")
    if not all(type(extent) is int and 0 <= extent <= _LARGEST for extent in value):
        raise Damaged(f"tensor {name!r} has a shape that no tensor has")
    return value


def _dtype(properties: Any) -> str | None:
    """The element type; the properties' state is a tuple that begins with it."""
    state = properties.state if type(properties) is Opaque else None
    first = state[0] if type(state) is tuple and state else None
    return torch_dtype(first.path.removeprefix("torch.")) if type(first) is Global else None


def _place(stored: Mapping[Any, Any], name: str, offsets: tuple[int, ...] | None) -> Place:
    value = stored.get(chunk_key(name, offsets))
    fields = value.attributes() if type(value) is Opaque else {}
    file, offset, length = fields.get("relative_path"), fields.get("offset"), fields.get("length")
    if type(file) is not str or type(offset) is not int or type(length) is not int or offset < 0 or length < 0:
        raise Damaged(f"its .metadata does not say where the bytes of {name!r} lie")
    transforms = fields.get("transform_descriptors") or ()
    if type(transforms) not in (list, tuple):
        raise Damaged(f"its .metadata does not say how the bytes of {name!r} are kept")
    return Place(file, offset, length, tuple(str(step)[:100] for step in transforms[:16]))


def _paths(planned: Any) -> dict[str, tuple[str | int, ...]]:
    if type(planned) is not dict:
        return {}
    return {
        name: path
        for name, path in planned.items()
        if type(name) is str
        and type(path) is tuple
        and 0 < len(path) <= _MAX_DIMENSIONS
        and all(type(key) in (str, int) for key in path)
    }
