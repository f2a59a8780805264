"""Nested training state as plain data, exactly: every dtype, integer keys, tuples, NaN, -0.0, bytes.

Plain data is what JSON has. Whatever JSON lacks is a mapping with one key that begins with `$`:

    {"$float": "NaN"}  {"$tuple": […]}  {"$dict": [[key, value]…]}  {"$bytes": base64}  {"$size": […]}
    {"$tensor": {"dtype", "shape", "data"}}  {"$ndarray": …}  {"$scalar": …}  {"$complex": [re, im]} …

`data` is base64 text, or in the binary container `[offset, size]` of bytes behind the header:

    magic (16 bytes) | header size (8, little endian) | header JSON | padding to 64 | buffers, each at a multiple of 64

What is not data (functions, modules, open files), refers to itself, or would come back as another type is refused
with a StateError that names where it lies. Tensors come back contiguous, on the CPU and without gradient history.
"""

from __future__ import annotations

import base64
import collections
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec

from ckpt.encoding import nonfinite_name, number_from_disk
from ckpt.exceptions import FormatError, StateError
from ckpt.state.nesting import FACTORIES, Nesting, factory_name

MAGIC = b"CKPTSTATE\x00\x00\x00\x00\x00\x01\n"
_ALIGN = 64


def encode(value: Any, where: str = "state") -> Any:
    """Plain data that `decode` turns back into the same value. Raises StateError for what cannot be stored."""
    return _Encoder(inline=True).encode(value, where, 0)


def decode(plain: Any) -> Any:
    """The value behind plain data. Raises FormatError when it was not made by `encode`."""
    return _decode(plain, None)


def same(a: Any, b: Any) -> bool:
    """Whether two values are stored alike, bit for bit; NaN equals NaN and 0.0 differs from -0.0."""
    left, right = _Encoder(inline=False), _Encoder(inline=False)
    try:
        if msgspec.json.encode(left.encode(a, "a", 0)) != msgspec.json.encode(right.encode(b, "b", 0)):
            return False
    except StateError:
        return a is b
    return len(left.buffers) == len(right.buffers) and all(
        bytes(x) == bytes(y) for x, y in zip(left.buffers, right.buffers, strict=True)
    )


def pack(fields: dict[str, Any], *, text_up_to: int) -> Callable[[IO[bytes]], None]:
    """A function that writes the fields of a state to a stream.

    Indented JSON when the tensors and arrays among them take `text_up_to` bytes at most, else the binary container.
    Raises StateError at once, before anything is written.
    """
    encoder = _Encoder(inline=False)
    body = {name: encoder.encode(value, name, 1) for name, value in fields.items()}
    if sum(len(buffer) for buffer in encoder.buffers) <= text_up_to:
        text = _Encoder(inline=True)
        plain = {name: text.encode(value, name, 1) for name, value in fields.items()}
        content = msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"
        return lambda stream: _write_all(stream, [content])
    from blake3 import blake3

    hasher = blake3()
    for chunk in _laid_out(encoder.buffers):
        hasher.update(chunk)
    header = msgspec.json.encode({"fields": body, "bytes": encoder.end, "blake3": hasher.hexdigest()})
    lead = MAGIC + len(header).to_bytes(8, "little") + header
    padding = b"\0" * (-len(lead) % _ALIGN)
    return lambda stream: _write_all(stream, [lead + padding, *_laid_out(encoder.buffers)])


def unpack(data: bytearray) -> dict[str, Any]:
    """The fields that `pack` wrote; arrays share the memory of `data`. Raises FormatError when it is damaged."""
    if not data.startswith(MAGIC):
        return _fields(_parsed(bytes(data)), None)
    start = len(MAGIC) + 8
    size = int.from_bytes(data[len(MAGIC) : start], "little")
    if size > len(data) - start:
        raise FormatError("the state is cut short in its header")
    header = _parsed(bytes(data[start : start + size]))
    begin = start + size + (-(start + size) % _ALIGN)
    body = memoryview(data)[begin:]
    if not isinstance(header, dict) or header.get("bytes") != len(body):
        raise FormatError(f"the state is cut short: {len(body)} bytes of buffers")
    from blake3 import blake3

    if blake3(body).hexdigest() != header.get("blake3"):
        raise FormatError("the state is damaged: its bytes are not those that were written")
    return _fields(header.get("fields"), body)


def _fields(plain: Any, body: memoryview | None) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise FormatError("the state is not a JSON object")
    return {name: _decode(value, body) for name, value in plain.items()}


def _parsed(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"the state is not valid JSON: {error}") from None


def _write_all(stream: IO[bytes], chunks: list[Any]) -> None:
    for chunk in chunks:
        stream.write(chunk)


def _laid_out(buffers: list[memoryview]) -> Iterator[memoryview | bytes]:
    for buffer in buffers:
        yield buffer
        if len(buffer) % _ALIGN:
            yield b"\0" * (-len(buffer) % _ALIGN)


class _Encoder:
    """One pass over a value; with `inline` false, bytes are collected beside the plain data."""

    def __init__(self, *, inline: bool) -> None:
        self.inline = inline
        self.buffers: list[memoryview] = []
        self.end = 0
        self._nesting = Nesting()
        torch = sys.modules.get("torch")
        numpy = sys.modules.get("numpy")
        self._tensor: Any = getattr(torch, "Tensor", ())
        self._array: Any = getattr(numpy, "ndarray", ())
        self._scalar: Any = getattr(numpy, "generic", ())
        self._torch: Any = torch if hasattr(torch, "Tensor") else None

    def encode(self, value: Any, where: str, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return _text(value)
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 63 else {"$int": str(value)}
        if kind is float:
            return value if value - value == 0.0 else {"$float": nonfinite_name(value)}
        if kind is complex:
            return {"$complex": [self.encode(value.real, where, depth), self.encode(value.imag, where, depth)]}
        if kind in (bytes, bytearray):
            return {f"${kind.__name__}": self._store(memoryview(bytes(value)))}
        if isinstance(value, self._tensor):
            return {"$tensor": self._encode_tensor(value, where)}
        if isinstance(value, self._scalar):
            return {"$scalar": self._encode_array(value, where)}
        if isinstance(value, self._array):
            return {"$ndarray": self._encode_array(value, where)}
        if self._torch is not None and kind in (self._torch.dtype, self._torch.device):
            return {f"${kind.__name__}": str(value).removeprefix("torch.")}
        return self._encode_container(value, where, depth)

    def _encode_container(self, value: Any, where: str, depth: int) -> Any:
        with self._nesting.inside(value, where, depth):
            return self._encode_items(value, where, depth + 1)

    def _encode_items(self, value: Any, where: str, depth: int) -> Any:
        kind = type(value)
        if kind is list or kind is tuple or (self._torch is not None and kind is self._torch.Size):
            items = [self.encode(item, f"{where}[{i}]", depth) for i, item in enumerate(value)]
            return items if kind is list else {"$tuple" if kind is tuple else "$size": items}
        if kind in (set, frozenset):
            return {f"${kind.__name__}": [self.encode(item, f"{where}{{…}}", depth) for item in _in_order(value)]}
        if kind is dict:
            if all(type(key) is str and not key.startswith("$") and key.isprintable() for key in value):
                return {key: self.encode(item, f"{where}.{key}", depth) for key, item in value.items()}
            return {"$dict": self._pairs(value, where, depth)}
        if kind is collections.OrderedDict:
            return {"$ordered": self._pairs(value, where, depth)}
        if kind is collections.Counter:
            return {"$counter": self._pairs(value, where, depth)}
        if kind is collections.defaultdict:
            name, is_known = factory_name(value)
            if not is_known:
                raise StateError(f"{where} is a defaultdict whose factory cannot be stored", hint=_known_factories())
            return {"$defaultdict": {"factory": name, "items": self._pairs(value, where, depth)}}
        raise StateError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which cannot be stored",
            hint="store numbers, strings, bytes, tensors, arrays, and lists, tuples and dictionaries of them",
        )

    def _pairs(self, value: dict[Any, Any], where: str, depth: int) -> list[Any]:
        return [
            [self.encode(key, f"{where}, key {key!r}", depth), self.encode(item, f"{where}[{key!r}]", depth)]
            for key, item in value.items()
        ]

    def _store(self, buffer: memoryview) -> Any:
        if self.inline:
            return base64.b64encode(buffer).decode("ascii")
        place = [self.end, len(buffer)]
        self.buffers.append(buffer)
        self.end += len(buffer) + (-len(buffer) % _ALIGN)
        return place

    def _encode_tensor(self, tensor: Any, where: str) -> dict[str, Any]:
        torch = self._torch
        plain = type(tensor) is torch.Tensor or isinstance(tensor, torch.nn.Parameter)
        if not plain or tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise StateError(
                f"{where} is a {type(tensor).__name__} ({tensor.layout}, {tensor.dtype}, {tensor.device}), "
                "which cannot be stored",
                hint="store an ordinary dense tensor that has data",
            )
        flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy() if flat.numel() else b""
        return {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "data": self._store(memoryview(raw)),
        }

    def _encode_array(self, array: Any, where: str) -> dict[str, Any]:
        import numpy as np

        dtype = array.dtype
        subclass = isinstance(array, np.ndarray) and type(array) is not np.ndarray
        if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None or subclass:
            raise StateError(f"{where} is a {type(array).__name__} of {dtype}, which cannot be stored")
        # Custom number types (bfloat16, float8 …) are of kind V; only their name tells them apart.
        name = dtype.name if dtype.kind == "V" and dtype.name in _custom_dtypes() else dtype.str
        # asarray keeps the shape of a 0-d array, which ascontiguousarray would turn into (1,).
        raw = np.asarray(array, order="C").reshape(-1)
        data: Any = raw.view(np.uint8) if raw.nbytes else b""
        return {"dtype": name, "shape": list(array.shape), "data": self._store(memoryview(data))}


def _text(value: str) -> Any:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return {"$str": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii")}
    return value


def _in_order(value: set[Any] | frozenset[Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=repr)


def _known_factories() -> str:
    return f"factories that can: {', '.join(FACTORIES)}, None"


def _custom_dtypes() -> frozenset[str]:
    import ml_dtypes

    return frozenset(name for name in dir(ml_dtypes) if name.startswith(("bfloat", "float", "int", "uint")))


def _decode(plain: Any, body: memoryview | None) -> Any:
    if isinstance(plain, list):
        return [_decode(item, body) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        tag, content = next(iter(plain.items()))
        if tag.startswith("$"):
            try:
                return _decode_tagged(tag, content, body)
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise FormatError(f"the state holds a {tag} that cannot be read: {error}") from error
    return {key: _decode(value, body) for key, value in plain.items()}


def _decode_tagged(tag: str, content: Any, body: memoryview | None) -> Any:
    if tag in ("$tensor", "$ndarray", "$scalar"):
        return _decode_array(tag, content, body)
    if tag == "$float":
        return float(number_from_disk(content))
    if tag == "$int":
        return int(content)
    if tag == "$str":
        return base64.b64decode(content).decode("utf-8", "surrogatepass")
    if tag in ("$bytes", "$bytearray"):
        raw = bytes(_buffer(content, body))
        return raw if tag == "$bytes" else bytearray(raw)
    if tag in ("$dtype", "$device", "$size"):
        import torch

        if tag == "$device":
            return torch.device(content)
        return torch.Size(_decode(content, body)) if tag == "$size" else _torch_dtype(content)
    if tag == "$defaultdict":
        name = content["factory"]
        factory = None if name is None else FACTORIES[name]
        return collections.defaultdict(factory, _decode_pairs(content["items"], body))
    if tag in ("$dict", "$ordered", "$counter"):
        made: dict[str, Callable[[Any], Any]] = {
            "$dict": dict,
            "$ordered": collections.OrderedDict,
            "$counter": lambda pairs: collections.Counter(dict(pairs)),
        }
        return made[tag](_decode_pairs(content, body))
    items = [_decode(item, body) for item in content]
    if tag == "$complex":
        return complex(*items)
    sequences: dict[str, Callable[[Any], Any]] = {"$tuple": tuple, "$set": set, "$frozenset": frozenset}
    if tag not in sequences:
        raise ValueError("unknown kind")
    return sequences[tag](items)


def _decode_pairs(pairs: Any, body: memoryview | None) -> list[tuple[Any, Any]]:
    return [(_decode(key, body), _decode(value, body)) for key, value in pairs]


def _buffer(place: Any, body: memoryview | None) -> memoryview:
    if isinstance(place, str):
        return memoryview(bytearray(base64.b64decode(place, validate=True)))
    offset, size = place
    if body is None or offset < 0 or size < 0 or offset + size > len(body):
        raise ValueError(f"bytes {offset} to {offset + size} are not there")
    return body[offset : offset + size]


def _torch_dtype(name: str) -> Any:
    import torch

    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch has no dtype {name!r}")
    return dtype


def _decode_array(tag: str, content: Any, body: memoryview | None) -> Any:
    shape = tuple(int(n) for n in content["shape"])
    raw = _buffer(content["data"], body)
    if tag == "$tensor":
        import torch

        dtype = _torch_dtype(content["dtype"])
        if not len(raw):
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(shape)
    import ml_dtypes
    import numpy as np

    name = str(content["dtype"])
    np_dtype = np.dtype(getattr(ml_dtypes, name) if name in _custom_dtypes() else name)
    if np_dtype.hasobject or np_dtype.fields is not None:
        raise ValueError(f"dtype {np_dtype} is refused")
    array = np.frombuffer(raw, dtype=np.uint8).view(np_dtype).reshape(shape) if len(raw) else np.empty(shape, np_dtype)
    return array[()] if tag == "$scalar" else array
