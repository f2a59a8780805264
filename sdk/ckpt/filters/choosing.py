"""Which rows, in what order, and how many: one meaning for `ckpt ls`, the API and the dashboard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ckpt.exceptions import UsageError
from ckpt.filters.grammar import Filter, parse
from ckpt.filters.values import NAMES, Fields

Item = TypeVar("Item")


@dataclass(frozen=True)
class Chosen(Generic[Item]):
    """The rows that were chosen."""

    rows: Sequence[Item]
    unknown: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names that were asked for and that no row has, probably misspelt; each with those that come near."""


class Choice:
    """What somebody wants to see of a list: a filter's text, a field to sort by (-FIELD: falling), a number of rows.

    Raises UsageError for what cannot be read.
    """

    def __init__(self, text: str | None = None, sort: str | None = None, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"a limit of {limit} would show nothing", hint="give 1 or more")
        if sort is not None and not sort.removeprefix("-"):
            raise UsageError("the order has no field", hint="give one such as step, or -step for falling")
        self._filter: Filter | None = None if text is None else parse(text)
        self._sort = sort
        self._limit = limit

    @property
    def everything(self) -> bool:
        """Whether nothing is left out, and the order stays."""
        return self._filter is None and self._sort is None and self._limit is None

    def of(self, rows: Sequence[Item], fields_of: Callable[[Item], Fields]) -> Chosen[Item]:
        """The rows that fit, in order."""
        if self._filter is None and self._sort is None:
            return Chosen(rows[: self._limit])
        pairs = [(row, fields_of(row)) for row in rows]
        known = [fields for _, fields in pairs]
        asked: set[str] = set()
        if self._filter is not None:
            matches = self._filter.matches
            pairs = [pair for pair in pairs if matches(pair[1])]
            asked.update(self._filter.names)
        if self._sort is not None:
            pairs = ordered(pairs, self._sort, lambda pair: pair[1])
            asked.add(self._sort.removeprefix("-"))
        unknown = {name: _near(name, known) for name in unknown_names(asked, known)}
        return Chosen([row for row, _ in pairs][: self._limit], unknown)


def ordered(items: Iterable[Item], by: str, fields_of: Callable[[Item], Fields]) -> list[Item]:
    """Items by one field: rising, or falling when `by` begins with "-". Rows without a finite value come last."""
    falling = by.startswith("-")
    name = by[1:] if falling else by
    numbers: list[tuple[float, Item]] = []
    texts: list[tuple[str, Item]] = []
    rest: list[Item] = []
    for item in items:
        value = fields_of(item).get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            numbers.append((float(value), item))
        elif isinstance(value, str) and value:
            texts.append((value.lower(), item))
        elif isinstance(value, tuple) and value:
            texts.append((",".join(value).lower(), item))
        else:
            rest.append(item)
    numbers.sort(key=lambda pair: pair[0], reverse=falling)
    texts.sort(key=lambda pair: pair[0], reverse=falling)
    return [item for _, item in numbers] + [item for _, item in texts] + rest


def unknown_names(names: Iterable[str], rows: Sequence[Fields]) -> list[str]:
    """Of the names asked for, those that no row has, sorted; [] when there are no rows."""
    if not rows:
        return []
    return sorted(name for name in names if all(name not in fields for fields in rows))


def _near(name: str, rows: Sequence[Fields]) -> list[str]:
    """Up to three names that rows have and that look like one they do not have."""
    import difflib

    known = sorted({key for fields in rows for key in fields if key != NAMES})
    return difflib.get_close_matches(name[:100], known, n=3, cutoff=0.5)
