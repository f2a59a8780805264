"""Rows of a plan that say the same, told together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

Item = Mapping[str, Any]

LEAST = 3
"""Rows from which on they are told together."""
_NUMBER = re.compile(r"(?:\d{4}-\d\d-\d\d[ T])?\d\d?:\d\d(?::\d\d)?|\d+(?:\.\d+)?")
"""A number or a time of day."""


@dataclass(frozen=True)
class Fold:
    """One row or several neighbours, and why, in words that hold for all of them."""

    items: Sequence[Item]
    why: str


def folded(items: Sequence[Item], why: Callable[[Item], str], alike: Callable[[Item], bool]) -> list[Fold]:
    """Neighbours that say the same are one row; of what is `alike` also those that differ in numbers alone."""
    found: list[Fold] = []
    for _, group in groupby(items, key=lambda item: _NUMBER.sub("#", why(item)) if alike(item) else why(item)):
        together = list(group)
        if len(together) < LEAST:
            found += [Fold([item], why(item)) for item in together]
        else:
            found.append(Fold(together, _common([why(item) for item in together])))
    return found


def _place(number: str) -> tuple[float, str]:
    return (0.0, number) if ":" in number else (float(number), "")


def _common(texts: Sequence[str]) -> str:
    """Texts that differ in numbers alone as one, with the range of each number: `written 3 to 40 s ago`."""
    columns = zip(*map(_NUMBER.findall, texts), strict=True)
    ranges = iter([sorted(set(column), key=_place) for column in columns])

    def told(_: re.Match[str]) -> str:
        values = next(ranges)
        return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"

    return _NUMBER.sub(told, texts[0])
