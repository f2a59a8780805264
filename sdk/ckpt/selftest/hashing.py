"""States and batches as digests by name, bit for bit: equal digests are equal values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from blake3 import blake3

from ckpt.encoding import printable
from ckpt.selftest.recording_file import UNSEEN

_DEEPEST = 3
"""Objects within objects: they refer to others, and what a batch leads to could be the whole data set."""
_SHORT = 16  # hexadecimal digits of a digest
_PLAIN = (int, float, complex, str, bytes, type(None), np.generic)
_WHOLE = (*_PLAIN, bytearray, set, frozenset, type, np.ndarray, torch.Tensor)


def digests(value: Any) -> dict[str, str]:
    """Every tensor, array and number in nested data by its dotted name; what holds none of them is one entry."""
    found: dict[str, str] = {}
    for name, text in _walk(value, "", 0, ()):
        name = name or "value"
        while name in found:
            # Keys 1 and "1" have one name.
            name += "'"
        found[name] = text
    return found


def digest(value: Any) -> str:
    """One digest of all that `digests` finds."""
    return _short(repr(list(_walk(value, "", 0, ()))).encode())


def _walk(value: Any, name: str, depth: int, above: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    if id(value) in above:
        yield printable(name), "itself"
        return
    nested = isinstance(value, Mapping | Sequence)
    inner = _inner(value) if nested or depth < _DEEPEST else None
    if inner is None:
        yield printable(name), _leaf(value)
        return
    for key, item in inner:
        yield from _walk(item, f"{name}.{key}" if name else str(key), depth + (not nested), (*above, id(value)))


def _inner(value: Any) -> list[tuple[Any, Any]] | None:
    """What a value is made of; None for one that is looked at as a whole."""
    if isinstance(value, _WHOLE):
        return None
    if isinstance(value, Mapping):
        return list(value.items()) or None
    if isinstance(value, Sequence):
        # A list of numbers, such as the state of a generator, is one thing.
        return None if all(isinstance(item, _PLAIN) for item in value) else list(enumerate(value))
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if callable(value):
        return None
    fields = getattr(value, "__dict__", None)
    return sorted(fields.items()) if fields else _pickled(value)


def _pickled(value: Any) -> list[tuple[Any, Any]] | None:
    """What pickle would keep of an object; None when it keeps nothing."""
    try:
        kept = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - an object of anybody's may refuse in any way
        return None
    if not isinstance(kept, tuple):
        return None
    return [(index, list(part) if isinstance(part, Iterator) else part) for index, part in enumerate(kept[1:])]


def _leaf(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)} {_short(_bytes_of(value))}"
    if value is None or isinstance(value, bool | int | float | complex | np.generic):
        return repr(value)
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes {_short(bytes(value))}"
    if isinstance(value, str):
        return printable(repr(value)) if len(value) <= 40 else f"text {_short(value.encode('utf-8', 'surrogatepass'))}"
    if isinstance(value, set | frozenset):
        return f"set of {len(value)} {_short(repr(sorted(map(digest, value))).encode())}"
    if isinstance(value, Mapping):
        return "empty"
    if isinstance(value, Sequence):
        return f"{len(value)} values {_short(repr(value).encode('utf-8', 'surrogatepass'))}"
    if isinstance(value, type) or callable(value):
        return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else _unseen(value)
    return _unseen(value)


def _unseen(value: Any) -> str:
    return f"{UNSEEN}a {type(value).__name__}"


def _bytes_of(array: np.ndarray[Any, Any]) -> Any:
    return digest(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()


def _tensor(tensor: torch.Tensor) -> str:
    what = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
    if tensor.is_meta:
        return what
    local = getattr(tensor, "to_local", None)
    plain = (local() if callable(local) else tensor).detach()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    if plain.is_quantized:
        plain = plain.int_repr()
    plain = plain.resolve_conj().resolve_neg().cpu().contiguous()
    return f"{what} {_short(plain.flatten().view(torch.uint8).numpy())}"


def _short(data: Any) -> str:
    return blake3(data, max_threads=blake3.AUTO).hexdigest()[:_SHORT]
