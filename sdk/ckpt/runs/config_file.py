"""config.yaml: a run's hyper-parameters for people, and what may be one.

Written by hand rather than through a YAML library: block mappings whose scalars are JSON, which YAML contains.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import StateError

_PLAIN_KEY = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]*$")
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"})


def plain_config(config: Any) -> dict[str, Any]:
    """Hyper-parameters as plain data: mapping, dataclass or argparse namespace.

    Paths become strings, tuples lists, NumPy scalars numbers. Raises StateError naming what cannot be written.
    """
    if config is None:
        return {}
    plain = _plain(config, "config", 0)
    if not isinstance(plain, dict):
        raise StateError(f"config has to be a mapping, not {type(config).__name__}")
    return plain


def _plain(value: Any, where: str, depth: int) -> Any:
    if depth > 50:
        raise StateError(f"{where} is nested too deep, or contains itself")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(os.fspath(value))
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(items)]
    if hasattr(value, "item") and getattr(value, "size", None) == 1:
        return _plain(value.item(), where, depth + 1)
    raise StateError(
        f"{where} is a {type(value).__name__}, which a config file cannot hold",
        hint="give numbers, strings, lists and mappings, or str() of it",
    )


def to_yaml(config: Mapping[str, Any]) -> bytes:
    """Plain hyper-parameters as a YAML document that any YAML reader takes."""
    return ("\n".join(_mapping(config, "")) + "\n").encode("utf-8") if config else b"{}\n"


def _mapping(config: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in config.items():
        plain = _PLAIN_KEY.match(key) and key.lower() not in _YAML_WORDS
        name = key if plain else _quoted(key)
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _mapping(value, indent + "  ")
        else:
            yield f"{indent}{name}: {_flow(value)}"


def _flow(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        if math.isnan(value):
            return ".nan"
        if math.isinf(value):
            return ".inf" if value > 0 else "-.inf"
        # YAML 1.1 takes an exponent for a number only behind a decimal point.
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return str(value)


def _quoted(text: str) -> str:
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char.isprintable():
            out.append(char)
        elif 0xD800 <= ord(char) <= 0xDFFF:
            out.append("\\\\" + printable(char)[1:])
        else:
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'
