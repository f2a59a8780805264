"""How a place in a tree of values is written and found: keys joined by dots, from the top down.

An integer counts the items of a list, from its end when it is negative; `*` is whichever of a mapping's first values
holds the rest of the place. Containers of omegaconf count as the plain values that they wrap.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from ckpt.formats.pickled.values import Opaque, mapping_of

_TRIED = 64
_MAX_NAMES = 1000
_MAX_NAME = 4096
_CLOCKS = ("%Y%m%d_%H%M%S", "%Y-%m-%d@%H:%M:%S", "%a %b %d %H:%M:%S %Y")
_MAX_CLOCK = 40


def unwrapped(value: Any) -> Any:
    """The value that a container or a node of omegaconf wraps; every other value as it is."""
    if type(value) is Opaque and value.path.startswith("omegaconf."):
        fields = value.attributes()
        for wrapped in ("_content", "_val"):
            if wrapped in fields:
                return fields[wrapped]
    return value


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """The value as a mapping, if it is one or wraps one."""
    return value if type(value) is dict else mapping_of(unwrapped(value))


def at(top: Any, place: str) -> Any:
    """What stands at a place below `top`; None when nothing does."""
    return _below(top, place.split("."))


def _below(value: Any, keys: Sequence[str]) -> Any:
    for depth, key in enumerate(keys):
        value = unwrapped(value)
        if type(value) in (list, tuple):
            index = _index(key, len(value))
            if index is None:
                return None
            value = value[index]
            continue
        fields = fields_of(value)
        if fields is None:
            return None
        if key == "*":
            found = (_below(item, keys[depth + 1 :]) for item in islice(fields.values(), _TRIED))
            return next((item for item in found if item is not None), None)
        if key not in fields:
            return None
        value = fields[key]
    return unwrapped(value)


def _index(key: str, length: int) -> int | None:
    if not key.removeprefix("-").isdecimal() or len(key) > 9:
        return None
    index = int(key)
    return index if -length <= index < length else None


def names_in(value: Any) -> tuple[str, ...]:
    """Names of files in a value: a text, the keys of a mapping, or a list whose items are texts or begin with one.

    An item may also be a pair with the name on its right side. Empty names and repetitions are left out.
    """
    value = unwrapped(value)
    items: Sequence[Any] = (value,)
    if (fields := fields_of(value)) is not None:
        items = tuple(islice(fields, _MAX_NAMES))
    elif type(value) in (list, tuple):
        items = value[:_MAX_NAMES]
    found: dict[str, None] = {}
    for item in items:
        parts = item[:2] if type(item) in (list, tuple) else (item,)
        name = next((part for part in parts if type(part) is str), "")
        if 0 < len(name) <= _MAX_NAME:
            found[name] = None
    return tuple(found)


def moment(value: Any) -> float | None:
    """Unix seconds of a date and time: an object, or a text in a form that frameworks write; None for all else.

    One without a time zone counts as the local time of this machine.
    """
    if type(value) is str and 8 < len(value) <= _MAX_CLOCK:
        value = _parsed(value)
    if not isinstance(value, datetime.datetime):
        return None
    try:
        return value.timestamp()
    except (OverflowError, OSError, ValueError):
        return None


def _parsed(text: str) -> datetime.datetime | None:
    for clock in _CLOCKS:
        try:
            return datetime.datetime.strptime(text, clock)
        except ValueError:
            continue
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
