"""Numbers and times in command output."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

NONE = "–"
_SPANS = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (86400.0, 3600.0, "h"), (31536000.0, 86400.0, "d"))


def span(seconds: float) -> str:
    """A duration in one unit: 12 s, 3 min, 5 h, 9 d, 2 y."""
    for limit, unit, name in _SPANS:
        if seconds < limit:
            return f"{int(seconds / unit)} {name}"
    return f"{int(seconds / 31536000.0)} y"


def full_in(seconds: float) -> str:
    """How long until a disk is full, in two units where they matter: 40 min, 3 h 20 m, 2 d 5 h, 9 d."""
    minutes = int(seconds / 60)
    hours, days = minutes // 60, minutes // 1440
    if hours < 1:
        return f"{minutes} min" if minutes else "less than a minute"
    if days < 1:
        return f"{hours} h {minutes % 60} m" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if days < 3 and hours % 24 else f"{days} d"


def ago(at: float | None, now: float | None = None) -> str:
    """A Unix time against now: `3 min ago`, `just now`, `in 5 h`; a dash when it is not known."""
    if not at or not math.isfinite(at):
        return NONE
    age = (time.time() if now is None else now) - at
    if abs(age) < 1:
        return "just now"
    return f"{span(age)} ago" if age > 0 else f"in {span(-age)}"


def number(value: Any) -> str:
    """A metric in four significant digits; NaN and infinities by name, a dash for none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return NONE if value is None else str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"{value:.4g}"


def count(value: float | None) -> str:
    """A step or an epoch, whole when it is whole."""
    if value is None or not math.isfinite(value):
        return number(value)
    return str(int(value)) if float(value).is_integer() else f"{value:.2f}"


def short(value: Any, limit: int = 60) -> str:
    """Any plain value on one line, cut to `limit` characters."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        text = value
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {short(item, limit)}" for key, item in list(value.items())[:20]) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(short(item, limit) for item in list(value)[:20]) + "]"
    elif value is None:
        text = "none"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
