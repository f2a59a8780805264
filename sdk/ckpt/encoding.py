"""JSON as this project writes it: numbers that are not finite, and paths that are not UTF-8.

On disk a non-finite number is the string "NaN", "Infinity" or "-Infinity"; in `--json` and on the socket it is
null and its name is listed in `nonfinite` beside it. Paths keep their bytes by surrogateescape in memory, and
are shown escaped.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping
from typing import Any

import msgspec

_NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_encoder = msgspec.json.Encoder()


def nonfinite_name(value: float) -> str:
    """The on-disk name of a float that is not finite."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def number_from_disk(value: Any) -> float | int:
    """A number as it stands on disk: a JSON number or one of the three names.

    Raises ValueError for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"not a number: {value!r}")
    if isinstance(value, str):
        if value not in _NAMES:
            raise ValueError(f"not a number: {value!r}")
        return _NAMES[value]
    try:
        float(value)
    except OverflowError:
        raise ValueError("a number beyond the range of a float") from None
    return value


def metrics_from_disk(raw: Any) -> dict[str, float]:
    """A metrics mapping as read from disk; entries that are not numbers are dropped."""
    if not isinstance(raw, Mapping):
        return {}
    out: dict[str, float] = {}
    for key, value in raw.items():
        try:
            out[str(key)] = number_from_disk(value)
        except ValueError:
            continue
    return out


def finite(value: Any) -> Any:
    """A copy of plain data in which non-finite floats are their on-disk names and paths are UTF-8."""
    if isinstance(value, float):
        return value if math.isfinite(value) else nonfinite_name(value)
    if isinstance(value, str):
        return _utf8(value)
    if isinstance(value, Mapping):
        return {_utf8(str(k)): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def _utf8(text: str) -> str:
    """The text itself, or its escaped form when it is not UTF-8, which JSON cannot hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return printable(text)
    return text


def split_nonfinite(metrics: Mapping[str, float]) -> tuple[dict[str, float | None], list[str]]:
    """Metrics for `--json`: the mapping with null for non-finite values, and the names that are null."""
    shown: dict[str, float | None] = {}
    names: list[str] = []
    for key, value in metrics.items():
        name = printable(key)
        if math.isfinite(value):
            shown[name] = value
        else:
            shown[name] = None
            names.append(name)
    return shown, names


def dumps(value: Any, *, indent: int = 0) -> bytes:
    """Plain data as UTF-8 JSON under the on-disk rules; `indent` spaces per level, 0 for one line."""
    data = _encoder.encode(finite(value))
    return msgspec.json.format(data, indent=indent) if indent else data


def loads(data: bytes | str) -> Any:
    """JSON as plain data. Raises ValueError for anything that is not valid JSON."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def quoted(path: str) -> str:
    """A path as a shell takes it, for commands in hints; printable."""
    import shlex

    return shlex.quote(printable(path))


def printable(text: str) -> str:
    """Text that any UTF-8 terminal or JSON reader takes: undecodable bytes and control characters escaped."""
    if text.isprintable() and text.isascii():
        return text
    out = []
    for char in text:
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code <= 0xDFFF:
            out.append(f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}")
        elif 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069:
            out.append(f"\\u{code:04x}")
        else:
            out.append(char)
    return "".join(out)


def path_fields(path: str) -> dict[str, str]:
    """`{"path"}` for a path, with `path_b64` (the raw bytes) beside it when it is not UTF-8."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raw = os.fsencode(path)
        return {"path": printable(path), "path_b64": base64.b64encode(raw).decode("ascii")}
    return {"path": path}


def path_from_fields(raw: Mapping[str, Any]) -> str:
    """The path that `path_fields` wrote, byte for byte."""
    if "path_b64" in raw:
        return os.fsdecode(base64.b64decode(raw["path_b64"]))
    return str(raw["path"])
