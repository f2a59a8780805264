"""safetensors headers and JSON files that lie, by name."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

_F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def _file(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


def headers() -> Iterator[tuple[str, bytes]]:
    """safetensors files."""
    for bits in (16, 24, 27, 31, 32, 40, 62, 63, 64):
        yield f"length of 2^{bits}", _file(b"{}", length=(1 << bits) - 1)
    yield "length 0", _file(b"{}", length=0)
    yield "length 1", _file(b"{}", length=1)
    for size in (1, 8, 16):
        yield f"many lists in {size} MB", _file(b'{"a":[' + b"[]," * (size * 340_000) + b"1]}")
    yield "many mappings", _file(b'{"a":[' + b"{}," * 5_000_000 + b"1]}")
    yield "many numbers", _file(b'{"a":[' + b"12345," * 2_500_000 + b"1]}")
    tensors = b",".join(
        b'"%d":{"dtype":"U8","shape":[],"data_offsets":[%d,%d]}' % (n, n, n + 1) for n in range(190_000)
    )
    yield "many tensors", _file(b"{" + tensors + b"}", bytes(190_000))
    some = b",".join(b'"%d":{"dtype":"U8","shape":[],"data_offsets":[%d,%d]}' % (n, n, n + 1) for n in range(40_000))
    yield "as many tensors as are read", _file(b"{" + some + b"}", bytes(40_000))
    yield "wide text", _file(b'{"__metadata__":{"a":"' + b"a" * (15 << 20) + b'\xf0\x9f\x98\x80"}}')
    yield "wide text of 7 MB", _file(b'{"__metadata__":{"a":"' + b"a" * (7 << 20) + b'\xf0\x9f\x98\x80"}}')
    yield "blanks", _file(b"{" + b" " * (15 << 20) + b"}")
    yield "open mappings", _file(b'{"a":' * 500_000)
    yield "open lists", _file(b'{"a":' + b"[" * 5_000_000)
    yield "deep lists", _file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    yield "digits", _file(b'{"a":' + b"9" * (15 << 20) + b"}")
    yield "digits with an exponent", _file(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', bytes(8))
    yield "digits in a shape", _file(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}')
    same = json.dumps(_F32).encode()
    yield "a name twice", _file(b'{"a":' + same + b',"a":' + same + b"}", bytes(8))
    yield "a dtype twice", _file(b'{"a":{"dtype":"F32","dtype":"U8","shape":[2],"data_offsets":[0,8]}}', bytes(8))
    for name in ("NaN", "Infinity", "-Infinity"):
        yield (
            f"a shape of {name}",
            _file(b'{"a":{"dtype":"F32","shape":[' + name.encode() + b'],"data_offsets":[0,8]}}'),
        )
    for name, change, size in (
        ("an overlap", {"b": {**_F32, "data_offsets": [4, 12]}}, 12),
        ("a gap", {"b": {**_F32, "data_offsets": [12, 20]}}, 20),
        ("the same range twice", {"b": _F32}, 8),
        ("a range backwards", {"b": {**_F32, "data_offsets": [16, 8]}}, 16),
        ("a range of 2^63", {"b": {**_F32, "data_offsets": [8, 1 << 63]}}, 16),
        ("a range below zero", {"b": {**_F32, "data_offsets": [-8, 0]}}, 16),
        ("a shape that overflows", {"b": {**_F32, "shape": [1 << 33, 1 << 33], "data_offsets": [8, 16]}}, 16),
        ("a shape that overflows to 2", {"b": {**_F32, "shape": [(1 << 61) + 1, 8], "data_offsets": [8, 16]}}, 16),
        ("a shape of text", {"b": {**_F32, "shape": ["2"], "data_offsets": [8, 16]}}, 16),
        ("a shape of many", {"b": {**_F32, "shape": [1] * 100_000, "data_offsets": [8, 16]}}, 16),
        ("a dtype that is none", {"b": {**_F32, "dtype": "__import__", "data_offsets": [8, 16]}}, 16),
        ("texts that are lists", {"__metadata__": {"a": []}}, 8),
        ("names of escapes", {"\x1b[31m\n\x07\u202e": {**_F32, "data_offsets": [8, 16]}}, 16),
    ):
        yield name, _file({"a": _F32, **change}, bytes(size))
    yield "bytes behind", _file({"a": _F32}, bytes(9))
    yield "too few bytes", _file({"a": _F32}, bytes(7))
    yield "not UTF-8", _file(b'{"\xff\xfe": 1}')
    yield "an escape of half a letter", _file(b'{"__metadata__":{"a":"\\ud800"}}')
    yield "half a letter as a name", _file(b'{"\\udc80":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8))
    yield "texts of escapes", _file({"__metadata__": {f"{n}": "\x1b" * 4000 for n in range(500)}})
    yield "epoch of digits", _file({"__metadata__": {"epoch": "9" * 100_000, "step": "1e999", "loss": "nan"}})
