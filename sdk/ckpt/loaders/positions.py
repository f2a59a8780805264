"""The record of a loader's position, as plain data in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from ckpt.saving.envelope.plain import to_plain

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ReaderState:
    """What one reader of the data, a worker or the training's own process, had given when the position was told."""

    batches: int = 0
    """Batches of this epoch that it gave and the training took."""
    state: Any = None
    """What the data set or its iterator told of itself, None when they tell nothing."""
    of: str | None = None
    """Who told the state: "dataset", "iterator" or None."""
    since: int = 0
    """How many of the batches were given after the state was told."""
    exhausted: bool = False
    carried: bool = False
    """Whether the state is that of the end of the epoch before."""
    left: bool = False
    """Whether that epoch was left in its midst: the data set begins the next one anew."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a loader is, and all that it needs to go on there."""

    batch_idx: int = 0
    """Batches of the epoch that the training took."""
    sample_idx: int | None = None
    """Samples in them, where the order is the loader's own."""
    exhausted: bool = False
    epoch: int | None = None
    """The epoch that is under way or next; None in a state of the four documented keys alone."""
    epoch_open: bool = False
    seed: int | None = None
    order: str | None = None
    num_workers: int | None = None
    batch_size: int | None = None
    samples: int | None = None
    prefetched: int = 0
    sampler_state: Mapping[str, Any] | None = None
    dataset_state: Any = None
    readers: tuple[ReaderState, ...] = ()
    next_reader: int = 0
    at_start: Mapping[str, Any] | None = None
    """What was told before the epoch began, where the epoch's number alone does not make it anew."""
    resumes_by: str | None = None

    def told(self) -> dict[str, Any]:
        """The position as a dictionary."""
        told: dict[str, Any] = {"version": VERSION}
        for field in fields(self):
            told[field.name] = getattr(self, field.name)
        told["readers"] = [{f.name: getattr(reader, f.name) for f in fields(reader)} for reader in self.readers]
        return told

    def plain(self) -> dict[str, Any]:
        """The same as plain data. Raises StateError, naming the place, for a state that cannot be such."""
        return cast(dict[str, Any], to_plain(self.told(), "loader"))
