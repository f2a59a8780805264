"""Dates and times."""

from __future__ import annotations

import datetime
from typing import Any

from ckpt.formats.pickled.constructors.arguments import few_bytes, integers
from ckpt.formats.pickled.values import Budget, Builder


def _datetime(args: tuple[Any, ...], budget: Budget) -> Any:
    raw, zone = few_bytes(args[0]), args[1:]
    offset = zone[0] if zone and isinstance(zone[0], datetime.tzinfo) else None
    micros = int.from_bytes(raw[7:10], "big")
    return datetime.datetime(raw[0] * 256 + raw[1], raw[2] & 127, raw[3], raw[4], raw[5], raw[6], micros, offset)


def _date(args: tuple[Any, ...], budget: Budget) -> Any:
    raw = few_bytes(args[0])
    return datetime.date(raw[0] * 256 + raw[1], raw[2], raw[3])


def _timedelta(args: tuple[Any, ...], budget: Budget) -> Any:
    return datetime.timedelta(*integers(args[:3]))


def _timezone(args: tuple[Any, ...], budget: Budget) -> Any:
    return datetime.timezone(args[0])


ROWS: dict[str, Builder] = {
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
}
