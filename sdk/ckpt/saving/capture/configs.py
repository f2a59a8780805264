"""Settings as plain data: what people call config, args or hyper-parameters."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import enum
import os
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_DEEPEST = 20
_TEXT = 1000  # characters of an object that is shown by its own words


def config_of(value: Any) -> dict[str, Any] | None:
    """A config as a mapping of plain data; None when it is nothing that has fields.

    Dataclasses, namespaces, mappings and records become mappings, paths and moments texts, members of enumerations
    their values; other objects are described by their own words.
    """
    if value is None:
        return None
    plain = _plain(value, 0)
    return plain if isinstance(plain, dict) else None


def _plain(value: Any, depth: int) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.numel() == 1):
        return _plain(value.item(), depth)
    fields = fields_of(value)
    if depth < _DEEPEST:
        if fields is not None:
            return {
                key if type(key) in (str, int, bool) else str(key): _plain(item, depth + 1)
                for key, item in fields.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            items = [_plain(item, depth + 1) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)[:_TEXT]


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """The fields of a mapping, dataclass, record or namespace by name."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {item.name: getattr(value, item.name, None) for item in dataclasses.fields(value)}
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        return vars(value)
    names = getattr(value, "__struct_fields__", None) or getattr(type(value), "model_fields", None)
    if names:
        return {str(name): getattr(value, str(name), None) for name in names}
    fields = getattr(value, "_fields", None)
    if isinstance(value, tuple) and isinstance(fields, tuple):
        return dict(zip(fields, value, strict=True))
    return None
