"""Numbers out of JSON that people and crashes may have touched."""

from __future__ import annotations

from typing import Any

from ckpt.encoding import number_from_disk


def number(value: Any, default: float) -> float:
    """The number, or `default` when it is none."""
    found = number_or_none(value)
    return default if found is None else found


def number_or_none(value: Any) -> float | None:
    """The number, non-finite names included; None for anything else."""
    try:
        return float(number_from_disk(value))
    except ValueError:
        return None


def count_or_none(value: Any) -> float | None:
    """The number, a whole one still an integer; None for anything else. Epochs may be fractions."""
    whole = whole_or_none(value)
    return number_or_none(value) if whole is None else whole


def whole_or_none(value: Any) -> int | None:
    """The integer; None for anything else, booleans included."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
