"""Which rows a text that is being typed lets through.

A text without an operator is searched for in the words of a row; anything else is the filter language of
`ckpt ls --filter`. A text that cannot be read yet is an error to show, not a reason to lose the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ckpt import filters
from ckpt.encoding import printable
from ckpt.records import Checkpoint, Run

Item = TypeVar("Item")

_LANGUAGE = re.compile(r"[<>=!*?()\"']|has:|(^|\s)(and|or|not)(\s|$)")
_CHUNK = 2000  # rows between two looks at whether anybody still waits


@dataclass(frozen=True)
class Query:
    """A text that rows are held against."""

    text: str
    words: tuple[str, ...] = ()
    """Lower-case words that must all occur; () when `expression` decides."""
    expression: filters.Filter | None = None

    @property
    def costly(self) -> bool:
        """Whether every row must be looked at field by field."""
        return self.expression is not None


def read_query(text: str) -> Query:
    """The query that a text says. Raises UsageError when it cannot be read."""
    stripped = text.strip()
    if stripped and _LANGUAGE.search(stripped):
        return Query(stripped, expression=filters.parse(stripped))
    return Query(stripped, words=tuple(stripped.lower().split()))


def select(
    query: Query,
    rows: Sequence[Item],
    texts: Sequence[str],
    fields_of: Callable[[Item], filters.Fields],
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Item]:
    """The rows that fit, in their order; `texts` are their words in lower case, one a row.

    Returns early, with what it has, once `cancelled` says so.
    """
    if query.expression is not None:
        matches = query.expression.matches
        kept: list[Item] = []
        for start in range(0, len(rows), _CHUNK):
            if cancelled():
                break
            kept.extend(row for row in rows[start : start + _CHUNK] if matches(fields_of(row)))
        return kept
    if not query.words:
        return list(rows)
    first, *others = query.words
    found = [row for row, text in zip(rows, texts, strict=True) if first in text]
    if others:
        found = [
            row for row, text in zip(rows, texts, strict=True) if first in text and all(word in text for word in others)
        ]
    return found


def run_words(run: Run) -> str:
    """What a search finds a run by."""
    return printable(f"{run.name} {run.path} {run.id} {run.status} {run.framework}").lower()


def checkpoint_words(checkpoint: Checkpoint) -> str:
    """What a search finds a checkpoint by: file, step, state, tags, note, label, id."""
    c = checkpoint
    name = c.path.rpartition("/")[2]
    extra = " ".join((*c.tags, "pinned" if c.pinned else "", c.note or "", c.label or ""))
    return printable(f"{name} {c.step} {c.state} {c.id} {extra}").lower()
