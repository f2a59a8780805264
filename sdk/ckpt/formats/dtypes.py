"""Names and sizes of tensor element types, without the libraries that define them."""

from __future__ import annotations

import struct

ITEM_BYTES: dict[str, int] = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "uint32": 4,
    "int32": 4,
    "uint64": 8,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "complex32": 4,
    "complex64": 8,
    "complex128": 16,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1,
    "qint8": 1,
    "quint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
    "bits8": 1,
    "bits16": 2,
}
"""Bytes of one element by dtype name."""

TORCH_STORAGES: dict[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt8Storage": "quint8",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}
"""Dtype of a storage by the name of its class in torch."""

_TORCH_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32"}

SAFETENSORS: dict[str, str] = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
"""Dtype by its name in a safetensors header."""

_NUMPY_CODES = {
    "b1": "bool",
    "?": "bool",
    "u1": "uint8",
    "i1": "int8",
    "u2": "uint16",
    "i2": "int16",
    "u4": "uint32",
    "i4": "int32",
    "u8": "uint64",
    "i8": "int64",
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "c8": "complex64",
    "c16": "complex128",
}

_FORMATS = {
    "bool": "?",
    "uint8": "B",
    "int8": "b",
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "uint64": "Q",
    "int64": "q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}


def torch_dtype(name: str) -> str | None:
    """Dtype that `torch.NAME` stands for; None when that is no dtype."""
    name = _TORCH_ALIASES.get(name, name)
    return name if name in ITEM_BYTES else None


def numpy_dtype(code: str) -> str:
    """Dtype of a numpy type code such as `f8`; the code itself where it has no plain name."""
    return _NUMPY_CODES.get(code.lstrip("<>=|"), code)


def decode_items(raw: bytes, dtype: str, *, big_endian: bool = False) -> list[int | float | bool | complex] | None:
    """The numbers in a buffer; None for a dtype that has no plain number or a buffer that does not fit it."""
    order = ">" if big_endian else "<"
    width = ITEM_BYTES.get(dtype, 0)
    if not width or len(raw) % width:
        return None
    count = len(raw) // width
    if dtype == "bfloat16":
        halves = struct.unpack(f"{order}{count}H", raw)
        return list(struct.unpack(f"<{count}f", struct.pack(f"<{count}I", *(half << 16 for half in halves))))
    if dtype in ("complex64", "complex128"):
        parts = struct.unpack(f"{order}{2 * count}{'f' if width == 8 else 'd'}", raw)
        return [complex(parts[i], parts[i + 1]) for i in range(0, 2 * count, 2)]
    code = _FORMATS.get(dtype)
    return None if code is None else list(struct.unpack(f"{order}{count}{code}", raw))
