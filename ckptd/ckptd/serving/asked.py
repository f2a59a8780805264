"""What a request asks with, checked: parameters of a read, fields of a change's body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ckpt.encoding import path_from_fields, printable
from ckpt.exceptions import UsageError

Params = Mapping[str, str]
Body = Mapping[str, Any]
Read = Callable[[Params], dict[str, Any] | msgspec.Raw]
Change = Callable[[Body], dict[str, Any]]


def needed(params: Params, name: str) -> str:
    """A parameter that has to be there. Raises UsageError."""
    if not params.get(name):
        raise UsageError(f"the parameter {name!r} is missing")
    return params[name]


def whole(params: Params, name: str, default: int | None) -> int | None:
    """A parameter that is a number of 0 or more. Raises UsageError."""
    if name not in params:
        return default
    try:
        value = int(params[name])
    except ValueError:
        raise UsageError(f"{name} is a whole number, not '{printable(params[name])}'") from None
    if not 0 <= value < 1 << 62:
        raise UsageError(f"{name} is out of range")
    return value


def text(body: Body, name: str) -> str:
    """A field that is a text and not empty. Raises UsageError."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name!r} has to be a text")
    return value


def texts(body: Body, name: str) -> list[str]:
    """A field that is a list of texts and not empty. Raises UsageError."""
    value = body.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise UsageError(f"{name!r} has to be a list of texts that is not empty")
    return value


def path(body: Body) -> str:
    """The path of a body, byte for byte when it is not UTF-8. Raises UsageError."""
    try:
        found = path_from_fields(body)
    except (KeyError, ValueError, TypeError):
        found = ""
    if not found or "\0" in found:
        raise UsageError("'path' has to be a text")
    return found
