"""Numbers, sizes and times as the dashboard shows them: short, and honest about what is not finite."""

from __future__ import annotations

import math
import time

from ckpt.encoding import printable

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_SPANS = ((60.0, 1.0, "s"), (3600.0, 60.0, "m"), (86400.0, 3600.0, "h"), (31536000.0, 86400.0, "d"))


def size_text(count: int) -> str:
    """A number of bytes in three digits: 980 B, 1.2 MB, 34 GB (powers of 1000)."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if value >= 9.95 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable: the last unit takes everything")


def age_text(at: float, now: float | None = None) -> str:
    """How long ago a Unix time was: now, 12s, 5m, 3h, 9d, 2y; "–" when it is not known."""
    if at <= 0:
        return "–"
    age = (time.time() if now is None else now) - at
    if age < 1:
        return "now"
    for limit, unit, name in _SPANS:
        if age < limit:
            return f"{age / unit:.0f}{name}"
    return f"{age / 31536000:.0f}y"


def moment_text(at: float) -> str:
    """A Unix time as local date and time to the second; "–" when it is not known."""
    if at <= 0:
        return "–"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return f"{at:g}"


def number_text(value: float | None, digits: int = 4) -> str:
    """A metric's value in few digits; NaN, inf and -inf by name; "–" for none."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-4 <= size < 10:
        return f"{value:.{digits}f}"
    if 10 <= size < 1e6:
        return f"{value:.{digits + 1}g}"
    return f"{value:.{digits - 2}e}"


def count_text(value: float | None) -> str:
    """A step or an epoch: whole when it is whole; "–" for none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return number_text(value)
    return str(int(value)) if float(value).is_integer() else f"{value:.2f}"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """`1 run`, `2 runs`; `many` where the plural is not formed with an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {many or noun + 's'}"


def file_name(path: str) -> str:
    """The last part of a path, safe to show."""
    return printable(path.rstrip("/").rpartition("/")[2] or path)
