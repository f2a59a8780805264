"""Values as `torch.load(weights_only=True)` takes them: no class but torch's own and Python's plain ones.

Tensors keep their storage, so what is tied stays tied and nothing is copied; a tensor that is a small view of a large
storage which nothing else uses is the one exception, because torch writes storages whole. NumPy arrays become
`{"$ndarray": tensor, "dtype": name}` and come back as arrays; NumPy scalars become Python numbers.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch

from ckpt.exceptions import FormatError, StateError
from ckpt.state.nesting import DEEPEST, FACTORIES, Nesting, factory_name

_PLAIN = (bool, str, bytes, bytearray, complex, torch.dtype, torch.device, torch.Size)
_SIMPLE = frozenset({int, float, bool, str, type(None)})
_TAGS = frozenset({"$ndarray", "$frozenset", "$defaultdict"})
_CONTAINERS = frozenset({list, tuple, dict, collections.OrderedDict})
_MOST = 100_000_000


def to_plain(value: Any, where: str) -> Any:
    """The value with everything in it as plain data and detached tensors.

    Raises StateError, naming the place, for what no safe loader takes, and for what contains itself.
    """
    tensors = list(_tensors(value, 0))
    shared = collections.Counter(_storage_of(tensor) for tensor in tensors if _is_ordinary(tensor))
    return _Walk(shared).plain(value, where, 0)


def from_plain(value: Any, where: str = "value") -> Any:
    """The value behind `to_plain`. Containers are made anew, tensors are the same objects.

    What stands at two places is made once. Raises FormatError, naming the place, for what `to_plain` cannot have made:
    what contains itself, is nested too deeply, or unfolds into more than any training has.
    """
    return _Return().value(value, where, 0)


def tensor_of(array: np.ndarray[Any, Any], where: str = "array") -> torch.Tensor:
    """A tensor over the memory of an array, of the same dtype. Raises StateError for a dtype that torch lacks."""
    name = array.dtype.name
    dtype = getattr(torch, name, None)
    if array.dtype.byteorder == ">" or not isinstance(dtype, torch.dtype):
        raise StateError(f"{where} is an array of {array.dtype}, which cannot be stored as a tensor")
    flat = np.asarray(array, order="C").reshape(-1)
    if not flat.size:
        return torch.empty(array.shape, dtype=dtype)
    if not flat.flags.writeable:
        flat = flat.copy()
    return torch.from_numpy(flat.view(np.uint8)).view(dtype).reshape(array.shape)


def array_of(tensor: torch.Tensor, dtype: str) -> np.ndarray[Any, Any]:
    """An array over the memory of a tensor. Raises TypeError for a dtype that NumPy lacks."""
    np_dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    if not tensor.numel():
        return np.empty(tuple(tensor.shape), np_dtype)
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw.view(np_dtype).reshape(tuple(tensor.shape))


class _Return:
    """One conversion back; every container is made once, however often it is named."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()

    def value(self, value: Any, where: str, depth: int) -> Any:
        return self._sized(value, where, depth)[0]

    def _sized(self, value: Any, where: str, depth: int) -> tuple[Any, int]:
        """The value, and how many values it is when all that is shared is counted at each of its places."""
        if type(value) not in _CONTAINERS:
            return value, 1
        known = self._made.get(id(value))
        if known is not None:
            return known
        if depth > DEEPEST:
            raise FormatError(f"{where} is nested deeper than {DEEPEST} levels")
        if id(value) in self._open:
            raise FormatError(f"{where} contains itself")
        self._open.add(id(value))
        try:
            made = self._container(value, where, depth + 1)
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
            raise FormatError(f"{where} cannot be read: {error}") from error
        self._open.discard(id(value))
        if made[1] > _MOST:
            raise FormatError(f"{where} unfolds into more than {_MOST} values")
        self._made[id(value)] = made
        return made

    def _container(self, value: Any, where: str, depth: int) -> tuple[Any, int]:
        kind = type(value)
        if kind is list or kind is tuple:
            if _is_flat(value):
                return kind(value), 1 + len(value)
            items = [self._sized(item, f"{where}[{i}]", depth) for i, item in enumerate(value)]
            return kind(item for item, _ in items), 1 + sum(size for _, size in items)
        if kind is dict and len(value) <= 2 and not _TAGS.isdisjoint(key for key in value if isinstance(key, str)):
            return self._tagged(value, where, depth)
        pairs = {key: self._sized(item, _under(where, key), depth) for key, item in value.items()}
        made: Any = kind((key, item) for key, (item, _) in pairs.items())
        if kind is collections.OrderedDict and hasattr(value, "_metadata"):
            made._metadata = value._metadata
        return made, 1 + sum(size for _, size in pairs.values())

    def _tagged(self, value: dict[Any, Any], where: str, depth: int) -> tuple[Any, int]:
        if "$ndarray" in value:
            return array_of(value["$ndarray"], str(value["dtype"])), 1
        if "$frozenset" in value:
            items, size = self._sized(value["$frozenset"], where, depth)
            return frozenset(items), size
        name = value.get("factory")
        items, size = self._sized(value["$defaultdict"], where, depth)
        return collections.defaultdict(None if name is None else FACTORIES[name], items), size


def _is_flat(several: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list has nothing but numbers and texts, as histories and generators' states have by the thousand."""
    return _SIMPLE.issuperset(map(type, several))


def _is_ordinary(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_meta


def _storage_of(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


def _tensors(value: Any, depth: int) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif depth <= DEEPEST:
        if isinstance(value, Mapping):
            value = value.values()
        elif not isinstance(value, list | tuple) or _is_flat(value):
            return
        for item in value:
            yield from _tensors(item, depth + 1)


class _Walk:
    """One conversion; knows how many tensors share each storage."""

    def __init__(self, shared: collections.Counter[int]) -> None:
        self._shared = shared
        self._nesting = Nesting()

    def plain(self, value: Any, where: str, depth: int) -> Any:
        if value is None or type(value) in _PLAIN:
            return value
        if isinstance(value, torch.Tensor):
            return self._tensor(value, where)
        if isinstance(value, np.generic):
            if value.dtype.kind in "biufcSU":
                return value.item()
            return {"$ndarray": tensor_of(np.asarray(value), where), "dtype": value.dtype.name}
        if isinstance(value, np.ndarray):
            return {"$ndarray": tensor_of(value, where), "dtype": value.dtype.name}
        for kind in (int, float, str):
            if isinstance(value, kind):
                return kind(value)
        with self._nesting.inside(value, where, depth):
            return self._container(value, where, depth + 1)

    def _container(self, value: Any, where: str, depth: int) -> Any:
        kind = type(value)
        if kind is list or kind is tuple:
            if _is_flat(value):
                return kind(value)
            return kind(self.plain(item, f"{where}[{i}]", depth) for i, item in enumerate(value))
        if kind is set:
            return {self.plain(item, f"{where}{{…}}", depth) for item in value}
        if kind is frozenset:
            return {"$frozenset": [self.plain(item, f"{where}{{…}}", depth) for item in value]}
        if isinstance(value, Mapping) and kind in (dict, collections.OrderedDict, collections.Counter):
            made: Any = kind({self._key(k, where): self.plain(v, _under(where, k), depth) for k, v in value.items()})
            # What versions modules have; torch writes it as an attribute of the state dict.
            metadata = getattr(value, "_metadata", None)
            if kind is collections.OrderedDict and metadata is not None:
                made._metadata = self.plain(metadata, f"{where}._metadata", depth)
            return made
        if kind is collections.defaultdict:
            name, is_known = factory_name(value)
            if is_known:
                items = {self._key(k, where): self.plain(v, _under(where, k), depth) for k, v in value.items()}
                return {"$defaultdict": items, "factory": name}
        raise StateError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which a checkpoint cannot hold",
            hint="store numbers, strings, tensors, arrays, and lists, tuples and dictionaries of them",
        )

    def _key(self, key: Any, where: str) -> Any:
        plain = self.plain(key, f"{where}, key {key!r}", 0)
        if isinstance(plain, dict | torch.Tensor):
            raise StateError(f"{where} has a key of type {type(key).__name__}, which a checkpoint cannot hold")
        return plain

    def _tensor(self, tensor: torch.Tensor, where: str) -> torch.Tensor:
        known = type(tensor) is torch.Tensor or isinstance(tensor, torch.nn.Parameter | torch.nn.Buffer)
        if not known or tensor.is_meta:
            raise StateError(
                f"{where} is a {type(tensor).__name__} on {tensor.device}, which a checkpoint cannot hold",
                hint="store an ordinary tensor that has data, such as the full tensor of a sharded one",
            )
        plain = tensor.detach()
        alone = _is_ordinary(plain) and self._shared[_storage_of(plain)] == 1
        if alone and plain.numel() * plain.element_size() < plain.untyped_storage().nbytes():
            return plain.clone()
        return plain


def _under(where: str, key: Any) -> str:
    if not isinstance(key, str):
        return f"{where}[{key!r}]"
    return f"{where}.{key}" if where else key
