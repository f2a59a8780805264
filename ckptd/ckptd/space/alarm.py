"""When to say that a disk fills, and when that it does not any more: once each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_WELL = 1.5  # it is well again where it takes this many times as long …
_WELL_FOR_S = 600.0  # … for that long

Told = Literal["disk.filling", "disk.recovered"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """What was said of one disk last. Times are of a clock that does not jump."""

    filling: bool = False
    well_since: float | None = None


def judged(
    alarm: Alarm, full_in_s: float | None, now: float, limit_s: float, *, short: bool = False
) -> tuple[Alarm, Told | None]:
    """The alarm after a forecast, and what to say of it; None when there is nothing new.

    A disk fills where it is full in less than `limit_s` seconds, or is `short`: less is free already than should be.
    """
    if not alarm.filling:
        if short or (full_in_s is not None and full_in_s < limit_s):
            return Alarm(filling=True), "disk.filling"
        return alarm, None
    if short:
        return Alarm(filling=True), None
    if full_in_s is not None and full_in_s < _WELL * limit_s:
        return Alarm(filling=True), None
    since = now if alarm.well_since is None else alarm.well_since
    if now - since >= _WELL_FOR_S:
        return Alarm(), "disk.recovered"
    return Alarm(filling=True, well_since=since), None
