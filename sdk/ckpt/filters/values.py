"""Values that rows have and filters name: numbers with units, ages, dates, and text as globs."""

from __future__ import annotations

import datetime
import fnmatch
import math
import re
from collections.abc import Callable, Mapping

Value = float | int | str | bool | tuple[str, ...] | None
Fields = Mapping[str, Value]
"""What a row says of itself, by name; None and a missing name mean the same."""

NAMES = "names"
"""Field that holds everything a row is called; a bare PATTERN looks there."""

_NUMBER = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([a-z]*)$", re.IGNORECASE)
_UNITS: dict[str, float] = {
    "": 1,
    "b": 1,
    "k": 1e3,
    "kb": 1e3,
    "m": 1e6,
    "mb": 1e6,
    "g": 1e9,
    "gb": 1e9,
    "t": 1e12,
    "tb": 1e12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_AGES: dict[str, float] = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_SPECIAL = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def is_glob(name: str) -> bool:
    """Whether a name stands for all that fit it."""
    return "*" in name or "?" in name


def values_of(fields: Fields, name: str) -> list[Value]:
    """The values that a row has under a name, or under all that a glob stands for."""
    if name in fields:
        return [fields[name]]
    if is_glob(name):
        return [value for key, value in fields.items() if key != NAMES and fnmatch.fnmatchcase(key, name)]
    return []


def called(pattern: str) -> Callable[[Fields], bool]:
    """Whether a row is called what a glob says."""

    def test(fields: Fields) -> bool:
        names = fields.get(NAMES)
        return isinstance(names, tuple) and any(_fits(name, pattern) for name in names)

    return test


def _fits(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())


def number_of(text: str, name: str) -> float | None:
    """The number that a value of a field says, with its unit or as a date; None when it is text."""
    special = _SPECIAL.get(text.lower())
    if special is not None:
        return special
    match = _NUMBER.match(text)
    if match is None:
        return _moment(text) if name.endswith("_at") else None
    factor = (_AGES if name == "age" else _UNITS).get(match[2].lower())
    return None if factor is None else float(match[1]) * factor


def _moment(text: str) -> float | None:
    """Unix seconds of a date, or of a date and a time, in local time unless it names its zone."""
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def compare(name: str, op: str, wanted: str) -> Callable[[Fields], bool]:
    """Whether a field stands to a value as `op` says: = != < <= > >=."""
    number = number_of(wanted, name)

    def one(value: Value) -> bool:
        if value is None:
            return False
        if isinstance(value, bool):
            truth = _TRUTH.get(wanted.lower())
            return truth is not None and op in ("=", "!=") and (value == truth) == (op == "=")
        if isinstance(value, int | float):
            return number is not None and _ordered(float(value), op, number)
        if op not in ("=", "!="):
            return False
        if isinstance(value, tuple):
            return any(_fits(text, wanted) for text in value) == (op == "=")
        return _fits(value, wanted) == (op == "=")

    return lambda fields: any(one(value) for value in values_of(fields, name))


def _ordered(value: float, op: str, wanted: float) -> bool:
    if op in ("=", "!="):
        same = value == wanted or (math.isnan(value) and math.isnan(wanted))
        return same == (op == "=")
    if op == "<":
        return value < wanted
    if op == "<=":
        return value <= wanted
    return value > wanted if op == ">" else value >= wanted
