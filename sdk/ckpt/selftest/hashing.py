"""States and batches as digests by name, bit for bit: equal digests are equal values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from blake3 import blake3

from ckpt.encoding import printable

_DEEPEST = 12
_SHORT = 16  # hexadecimal digits of a digest


def digests(value: Any) -> dict[str, str]:
    """Every tensor, array and number in nested data by its dotted name; what holds none of them is one entry."""
    return {name or "value": text for name, text in _walk(value, "", 0)}


def digest(value: Any) -> str:
    """One digest of all that `digests` finds."""
    return _short(repr(list(_walk(value, "", 0))).encode())


def _walk(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    inner = _inner(value) if depth < _DEEPEST else None
    if inner is None:
        yield printable(name), _leaf(value)
        return
    # Objects refer to objects, and what a batch leads to could be the whole data set.
    deeper = depth + (1 if isinstance(value, Mapping | Sequence) else 4)
    for key, item in inner:
        yield from _walk(item, f"{name}.{key}" if name else str(key), deeper)


def _inner(value: Any) -> list[tuple[Any, Any]] | None:
    """What a value is made of; None for one that is looked at as a whole."""
    if isinstance(value, torch.Tensor | np.ndarray | str | bytes | bytearray):
        return None
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, Sequence):
        # A list of numbers, such as the state of a generator, is one thing.
        return list(enumerate(value)) if any(_is_large(item) for item in value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    fields = getattr(value, "__dict__", None)
    return sorted(fields.items()) if fields and not isinstance(value, type) and not callable(value) else None


def _is_large(item: Any) -> bool:
    return isinstance(item, torch.Tensor | np.ndarray | Mapping | Sequence) and not isinstance(item, str | bytes)


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
    if isinstance(value, Sequence):
        return f"{len(value)} values {_short(repr(value).encode('utf-8', 'surrogatepass'))}"
    return f"a {type(value).__name__}"


def _bytes_of(array: np.ndarray[Any, Any]) -> Any:
    return repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()


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
