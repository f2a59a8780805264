"""Given fields in short, as a person can type them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt.encoding import printable
from ckpt.retention.quantities import DAY, HOUR, MINUTE

_TIMES = ("keep_within", "max_age", "metric_grace", "min_age", "keep_for")
_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"))
_SIZES = ((10**15, "PB"), (10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def given_text(given: Mapping[str, Any]) -> str:
    """`keep_last=3 keep_every="1h for 1d"`: what `reading.parse` takes back; "" when nothing is given."""
    return " ".join(item for name, value in given.items() for item in _items(name, value))


def time_text(seconds: float) -> str:
    """Seconds in the largest unit that shows them exactly: `36h`, `7d`, `90`."""
    for length, unit in _UNITS:
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds!r}s"


def _items(name: str, value: Any) -> Iterator[str]:
    if name == "unmonitored":
        if value:
            yield "monitor=none"
    elif value is None:
        yield f"{name}=off"
    elif name == "keep_best_of":
        for metric, wanted in value.items():
            shown = "off" if wanted is None else f'"{wanted["keep"]} {wanted["mode"]}"'
            yield f"keep_best_of.{printable(metric)}={shown}"
    elif name == "keep_every":
        yield f'keep_every="{", ".join(map(_stretch, value))}"'
    elif isinstance(value, bool):
        yield f"{name}={'yes' if value else 'no'}"
    elif name in _TIMES:
        yield f"{name}={time_text(value)}"
    elif name == "max_bytes":
        yield f"{name}={_size(value)}"
    elif isinstance(value, tuple | list):
        yield f"{name}={','.join(map(str, value))}"
    else:
        yield f"{name}={printable(value) if isinstance(value, str) else value}"


def _stretch(stretch: Mapping[str, float | None]) -> str:
    within = stretch["within"]
    return time_text(stretch["every"] or 0.0) + ("" if within is None else f" for {time_text(within)}")


def _size(count: int) -> str:
    return next((f"{count // size}{unit}" for size, unit in _SIZES if count >= size and count % size == 0), str(count))
