"""Arguments of a call in a pickle, believed only as far as they are short and of their kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SHORT = 64  # letters or bytes of what is never long, such as a scalar or a dtype's code
_SMALL = 1 << 60


def few_bytes(value: Any) -> bytes:
    """The few bytes that a number or a time is made of; before protocol 3 they are text. Raises TypeError."""
    if type(value) not in (str, bytes) or len(value) > SHORT:
        raise TypeError("not a few bytes")
    return value.encode("latin-1") if type(value) is str else value


def integers(values: Iterable[Any]) -> list[int]:
    """The values, all of them integers of a machine's size. Raises TypeError."""
    found = list(values)
    if any(type(value) is not int or abs(value) >= _SMALL for value in found):
        raise TypeError("not integers")
    return found


def text(value: Any) -> str:
    """The value, which is text. Raises TypeError."""
    if type(value) is not str:
        raise TypeError("not text")
    return value
