"""Numbers that people write: counts, durations, sizes and shares, and how they are shown.

Every reader takes the name that the person used and the value, gives the plain number, and raises StateError with
that name for what it cannot be. `true` and `false` are never numbers.
"""

from __future__ import annotations

import math
import re
import reprlib
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import StateError

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
LONGEST = 1000 * 365.25 * DAY
"""Seconds; a longer time is a slip of the pen."""
LARGEST = 10**18
"""Bytes; no run is larger."""

_UNITS = {
    1.0: ("s", "sec", "secs", "second", "seconds"),
    MINUTE: ("m", "min", "mins", "minute", "minutes"),
    HOUR: ("h", "hr", "hrs", "hour", "hours"),
    DAY: ("d", "day", "days"),
    7 * DAY: ("w", "week", "weeks"),
}
_SECONDS = {word: seconds for seconds, words in _UNITS.items() for word in words}
_BYTES = {
    "": 1,
    **{letter: 1000**power for power, letter in enumerate("kmgtp", 1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgtp", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgtp", 1)},
    "b": 1,
}
_PART = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%", re.ASCII)

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 60


def shown(value: Any) -> str:
    """A value as messages show it: short, and printable."""
    try:
        text = printable(_SHORT.repr(value))
    except ValueError:
        return "a number of thousands of digits"  # which Python itself declines to write out
    return text if len(text) <= 60 else f"{text[:57]}…"


def whole(name: str, value: Any, least: int, most: int, hint: str | None = None) -> int:
    """A whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise StateError(f"{name} is {shown(value)}, and has to be a whole number of {least} or more", hint=hint)
    if value < least:
        raise StateError(f"{name} is {shown(value)}, and has to be {least} or more", hint=hint)
    if value > most:
        raise StateError(f"{name} is {shown(value)}, and has to be {most:,} at most", hint=hint)
    return int(value)


def duration(name: str, value: Any, least: float = 0.0) -> float:
    """Seconds of at least `least`, to the millisecond, from a number of them or a text such as `36h` or `1h 30m`."""
    seconds = _seconds(name, value) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds:
        raise StateError(
            f"{name} is {shown(value)}, and has to be a time",
            hint='such as "36h", "7d", "90m", "2w", or a number of seconds',
        )
    if seconds < least:
        raise StateError(f"{name} is {shown(value)}, and has to be {least:g} second{'s' * (least != 1)} or more")
    if seconds > LONGEST:
        raise StateError(f"{name} is {shown(value)}, and has to be 1000 years at most")
    return round(float(seconds), 3) + 0.0


def _seconds(name: str, text: str) -> float:
    parts = _parts(text)
    if not parts or any(unit not in _SECONDS for _, unit in parts):
        hint = 'write it with s, m (minutes), h, d or w: "36h", "7d", "1h 30m"'
        if any(unit.startswith(("mo", "y")) for _, unit in parts):
            hint = 'months and years differ in length, so write days: "30d", "365d"'
        raise StateError(f"{name} is {shown(text)}, and has to be a time", hint=hint)
    return sum(number * _SECONDS[unit] for number, unit in parts)


def size(name: str, value: Any) -> int:
    """Bytes, from a whole number or a text such as `200GB` (10^9) or `1.5TiB` (2^40)."""
    count: Any = value
    hint = 'such as "200GB" (10^9 bytes), "1.5TiB" (2^40), or a whole number of bytes'
    if isinstance(value, str):
        parts = _parts(value)
        if len(parts) != 1 or parts[0][1] not in _BYTES:
            raise StateError(f"{name} is {shown(value)}, and has to be a size", hint=hint)
        count = round(parts[0][0] * _BYTES[parts[0][1]])
    elif isinstance(value, float) and value.is_integer():
        count = int(value)
    if isinstance(count, bool) or not isinstance(count, int):
        raise StateError(f"{name} is {shown(value)}, and has to be a size", hint=hint)
    if not 1 <= count <= LARGEST:
        raise StateError(f"{name} is {shown(value)}, and has to be from 1 byte to {size_text(LARGEST)}", hint=hint)
    return count


def share(name: str, value: Any) -> float:
    """A part of a whole, 0 to 1, from a number or a text such as `50%`."""
    count: Any = value
    if isinstance(value, str) and (found := _SHARE.fullmatch(value.strip())):
        count = float(found[1]) / 100
    if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count <= 1:
        raise StateError(f"{name} is {shown(value)}, and has to be a share from 0 to 1", hint='such as 0.5 or "50%"')
    return float(count) + 0.0


def _parts(text: str) -> list[tuple[float, str]]:
    """Numbers with their units, lower case; empty when the text is anything else."""
    parts, at = [], 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            return []
        parts.append((float(found[1]), found[2].lower()))
        at = found.end()
    return parts


def duration_text(seconds: float) -> str:
    """Seconds in the largest unit that shows them exactly: `36 hours`, `90 minutes`, `7 days`."""
    for length, word in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f} {word}{'s' if seconds != length else ''}"
    return f"{seconds:.12g} second{'s' if seconds != 1 else ''}"


def size_text(count: int) -> str:
    """Bytes as people write them, `200 GB` or `1.5 TiB`; rounded to four digits where no unit shows them exactly."""
    for base, ending in ((1000, "B"), (1024, "iB")):
        for power, letter in reversed(list(enumerate("kMGTP", 1))):
            if count >= base**power and (count * 100) % base**power == 0:
                return f"{count / base**power:g} {letter}{ending}"
    return measured_text(count) if count >= 10_000 else _bytes_text(count)


def measured_text(count: int) -> str:
    """Bytes that nobody chose, `1.068 MB`: four digits, in powers of 1000 alone so that two of them can be compared."""
    if count < 1000:
        return _bytes_text(count)
    power = min(int(math.log10(count) / 3), 5)
    value = count / 1000**power
    return f"{value:.4g} {' kMGTP'[power]}B" if value < 9999 else f"{value:.0f} {' kMGTP'[power]}B"


def _bytes_text(count: int) -> str:
    return f"{count} byte{'s' if count != 1 else ''}"
