"""Values as `torch.load(weights_only=True)` takes them: no class but torch's own and Python's plain ones.

Tensors keep their storage, so what is tied stays tied and nothing is copied; a tensor that is a small view of a large
storage which nothing else uses is the one exception, because torch writes storages whole. What stands at two places
is made once. NumPy arrays become `{"$ndarray": tensor, "dtype": name}` and come back as arrays; NumPy scalars and
members of enumerations of numbers or texts become Python numbers and texts.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import FormatError, StateError
from ckpt.saving.envelope.tensors import array_of, has_storage, storable, stored_dtype, tensor_of
from ckpt.state.nesting import DEEPEST, FACTORIES, Nesting, factory_name

_PLAIN = frozenset({bool, float, str, bytes, bytearray, complex, torch.dtype, torch.device, torch.Size, type(None)})
_BASES: dict[type, Callable[[Any], Any]] = {int: int.__int__, float: float.__float__, str: str.__str__}
"""How a value of a class derived from a plain one is made plain, whatever that class says of itself."""
_SIMPLE = frozenset({int, float, bool, str, type(None)})
_TAGS = frozenset({"$ndarray", "$frozenset", "$defaultdict", "$dict", "$bytes", "$int"})
_CONTAINERS = frozenset({list, tuple, dict, collections.OrderedDict, collections.Counter})
_MAPPINGS = (dict, collections.OrderedDict, collections.Counter)
_LARGE = 1 << 2039
"""Integers from here on take 256 bytes, which a safe loader does not read."""
_MOST = 100_000_000
_HINT = "store numbers, strings, tensors, arrays, and lists, tuples and dictionaries of them"


def to_plain(value: Any, where: str) -> Any:
    """The value with everything in it as plain data and detached tensors.

    Raises StateError, naming the place, for what no safe loader takes, for what contains itself, and for what unfolds
    into more than is ever read back.
    """
    tensors = list(_tensors(value, 0, set()))
    shared = collections.Counter(_storage_of(tensor) for tensor in tensors if has_storage(tensor))
    return _Walk(shared).plain(value, where, 0)


def from_plain(value: Any, where: str = "value") -> Any:
    """The value behind `to_plain`. Containers are made anew, tensors are the same objects.

    What stands at two places is made once. Raises FormatError, naming the place, for what `to_plain` cannot have made:
    what contains itself, is nested too deeply, or unfolds into more than any training has.
    """
    return _Return().value(value, where, 0)


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
        if _is_tagged(value):
            return self._tagged(value, where, depth)
        return self._mapping(value, where, depth)

    def _mapping(self, value: Any, where: str, depth: int) -> tuple[Any, int]:
        pairs = {key: self._sized(item, _under(where, key), depth) for key, item in value.items()}
        made: Any = type(value)({key: item for key, (item, _) in pairs.items()})
        if type(value) is collections.OrderedDict and hasattr(value, "_metadata"):
            made._metadata = self.value(value._metadata, f"{where}._metadata", depth)
        return made, 1 + sum(size for _, size in pairs.values())

    def _tagged(self, value: dict[Any, Any], where: str, depth: int) -> tuple[Any, int]:
        if "$ndarray" in value:
            return array_of(value["$ndarray"], str(value["dtype"])), 1
        if "$bytes" in value:
            return value["$bytes"].encode("latin-1"), 1
        if "$int" in value:
            return int(value["$int"], 16), 1
        # A tag and what it holds are one level, as they were when they were made.
        if "$frozenset" in value:
            items, size = self._sized(value["$frozenset"], where, depth - 1)
            return frozenset(items), size
        if "$dict" in value:
            return self._mapping(value["$dict"], where, depth)
        name = value.get("factory")
        items, size = self._mapping(value["$defaultdict"], where, depth)
        return collections.defaultdict(None if name is None else FACTORIES[name], items), size


def _is_tagged(value: Any) -> bool:
    """Whether a dictionary is one that stands for something else."""
    return type(value) is dict and len(value) <= 2 and not _TAGS.isdisjoint(k for k in value if isinstance(k, str))


def _is_flat(several: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list has nothing but numbers and texts, as histories and generators' states have by the thousand."""
    return _SIMPLE.issuperset(map(type, several))


def _is_large(number: int) -> bool:
    return not -_LARGE <= number < _LARGE


def _storage_of(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


def _tensors(value: Any, depth: int, seen: set[int]) -> Iterator[torch.Tensor]:
    """All tensors in a value; those in a container that stands at two places once."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth <= DEEPEST and id(value) not in seen:
        if isinstance(value, Mapping):
            items = list(value.values())
        elif isinstance(value, list | tuple) and not _is_flat(value):
            items = list(value)
        else:
            return
        seen.add(id(value))
        for item in items:
            yield from _tensors(item, depth + 1, seen)


class _Walk:
    """One conversion; knows how many tensors share each storage, and makes every container once."""

    def __init__(self, shared: collections.Counter[int]) -> None:
        self._shared = shared
        self._nesting = Nesting()
        self._made: dict[int, tuple[Any, Any, int]] = {}
        """By identity: the value, which lives as long as its number is used, what it became, and how many values."""
        self._seen_as: dict[int, tuple[torch.dtype, str]] = {}
        """Address of a storage to the dtype that it is stored as, and the place of the first tensor over it."""

    def plain(self, value: Any, where: str, depth: int) -> Any:
        return self._sized(value, where, depth)[0]

    def _sized(self, value: Any, where: str, depth: int) -> tuple[Any, int]:
        """The plain value, and how many values it is when all that is shared is counted at each of its places."""
        kind = type(value)
        if kind is int:
            return (self._tag({"$int": hex(value)}, where, depth) if _is_large(value) else value), 1
        if kind in _PLAIN:
            return (self._tag({"$bytes": ""}, where, depth) if kind is bytes and not value else value), 1
        if isinstance(value, torch.Tensor):
            return self._tensor(value, where), 1
        if isinstance(value, np.generic):
            return self._scalar(value, where, depth), 1
        for base, made_plain in _BASES.items():
            if isinstance(value, base):
                return self._sized(made_plain(value), where, depth)
        known = self._made.get(id(value))
        if known is not None:
            return known[1:]
        if isinstance(value, np.ndarray):
            made, size = self._array(value, where, depth), 1
        else:
            with self._nesting.inside(value, where, depth):
                made, size = self._container(value, where, depth + 1)
        if size > _MOST:
            raise StateError(f"{where} unfolds into more than {_MOST} values")
        self._made[id(value)] = (value, made, size)
        return made, size

    def _container(self, value: Any, where: str, depth: int) -> tuple[Any, int]:
        kind = type(value)
        if kind is list or kind is tuple:
            if _is_flat(value) and not any(_is_large(item) for item in value if type(item) is int):
                return kind(value), 1 + len(value)
            several = [self._sized(item, f"{where}[{i}]", depth) for i, item in enumerate(value)]
            return kind(item for item, _ in several), 1 + sum(size for _, size in several)
        if kind is set or kind is frozenset:
            several = [self._sized(item, f"{where}{{…}}", depth) for item in value]
            size = 1 + sum(size for _, size in several)
            items = [item for item, _ in several]
            return (self._set(items, where) if kind is set else {"$frozenset": items}), size
        if kind in _MAPPINGS:
            made, size = self._mapping(value, where, depth)
            # What versions modules have; torch writes it as an attribute of the state dict.
            metadata = getattr(value, "_metadata", None)
            if kind is collections.OrderedDict and metadata is not None:
                made._metadata = self.plain(metadata, f"{where}._metadata", depth)
            return ({"$dict": made} if _is_tagged(made) else made), size
        if kind is collections.defaultdict:
            name, is_known = factory_name(value)
            if is_known:
                made, size = self._mapping(value, where, depth)
                return {"$defaultdict": made, "factory": name}, size
        raise StateError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which a checkpoint cannot hold", hint=_HINT
        )

    def _mapping(self, value: Any, where: str, depth: int) -> tuple[Any, int]:
        kind = type(value) if type(value) in _MAPPINGS else dict
        pairs = {self._key(k, where): self._sized(v, _under(where, k), depth) for k, v in value.items()}
        return kind({key: item for key, (item, _) in pairs.items()}), 1 + sum(size for _, size in pairs.values())

    def _key(self, key: Any, where: str) -> Any:
        if type(key) is str:
            return key
        plain = self.plain(key, f"{where}, key {_shown(key)}", 0)
        if isinstance(plain, torch.Tensor) or not _is_hashable(plain):
            raise StateError(
                f"{where} has the key {_shown(key)} of type {type(key).__name__}, which a checkpoint cannot hold",
                hint="use numbers, strings and tuples of them as keys",
            )
        return plain

    def _set(self, items: list[Any], where: str) -> set[Any]:
        if not all(map(_is_hashable, items)):
            raise StateError(f"{where} is a set of what a checkpoint cannot hold in sets", hint="store a list of it")
        return set(items)

    def _tag(self, tag: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
        """What stands for a value that no safe loader takes; in the file it is a level of its own."""
        with self._nesting.inside(tag, where, depth):
            return tag

    def _scalar(self, value: np.generic[Any], where: str, depth: int) -> Any:
        if value.dtype.kind not in "biufcSU":
            return self._tag({"$ndarray": tensor_of(np.asarray(value), where), "dtype": value.dtype.name}, where, depth)
        number = value.item()
        if isinstance(number, np.generic):
            raise StateError(
                f"{where} is a number of {value.dtype}, which a checkpoint cannot hold", hint="store a float"
            )
        return self.plain(number, where, depth)

    def _array(self, value: np.ndarray[Any, Any], where: str, depth: int) -> Any:
        if type(value) not in (np.ndarray, np.memmap):
            raise StateError(
                f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which a checkpoint cannot hold",
                hint="store a plain array of it, and a mask beside it as another",
            )
        tensor = self._tensor(tensor_of(value, where), where)
        return self._tag({"$ndarray": tensor, "dtype": value.dtype.name}, where, depth)

    def _tensor(self, tensor: torch.Tensor, where: str) -> torch.Tensor:
        plain = storable(tensor, where)
        if not has_storage(plain):
            return plain
        alone = self._shared[_storage_of(plain)] == 1
        if alone and plain.numel() * plain.element_size() < plain.untyped_storage().nbytes():
            return plain.clone()
        address, dtype = _storage_of(plain), stored_dtype(plain)
        before, place = self._seen_as.setdefault(address, (dtype, where)) if address else (dtype, where)
        if before is not dtype:
            raise StateError(
                f"{where} and {place} are the same memory as {dtype} and as {before}, which no torch archive can hold",
                hint="give one of the two a copy",
            )
        return plain


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _shown(key: Any) -> str:
    try:
        return f"{key!r:.80}"
    except ValueError:  # Python prints no integers of thousands of digits.
        return f"of type {type(key).__name__}"


def _under(where: str, key: Any) -> str:
    if not isinstance(key, str):
        return f"{where}[{_shown(key)}]"
    return f"{where}.{key}" if where else key
