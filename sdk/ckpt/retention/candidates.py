"""What the rules see of a run, and what each of them answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ckpt import refs
from ckpt.records import Checkpoint, Reason
from ckpt.retention.policy import DEFAULT_MONITOR, Mode, Policy
from ckpt.retention.series import Series, series_of

FORK_LABEL = "fork"
"""Label of the checkpoint that a forked run starts with; its values are the parent's."""


@dataclass(frozen=True)
class Ranking:
    """The checkpoints of a run in the order of one metric. Places are places in `Candidates.newest`."""

    metric: str
    newest: Sequence[Checkpoint]
    mode: Mode

    @cached_property
    def values(self) -> list[float | None]:
        """The metric of each; a fork's start has none, because its values are its parent's achievement."""
        metric = self.metric
        if metric == DEFAULT_MONITOR:
            return [None if c.label == FORK_LABEL else c.value(metric) for c in self.newest]
        # As Checkpoint.value says it, without a call for each of 100 000.
        return [None if c.label == FORK_LABEL else c.metrics.get(metric) for c in self.newest]

    @cached_property
    def best(self) -> list[int]:
        """Places of those with a finite value, best first."""
        return refs.ranking(self.values, self.mode)

    @cached_property
    def ranks(self) -> list[int]:
        """The rank of each, from 1; 0 for those that cannot be ranked."""
        ranks = [0] * len(self.newest)
        for rank, place in enumerate(self.best, 1):
            ranks[place] = rank
        return ranks

    @property
    def missing(self) -> list[int]:
        """Places of those that have no value at all; a fork's start waits for none."""
        return [p for p, v in enumerate(self.values) if v is None and self.newest[p].label != FORK_LABEL]


@dataclass(frozen=True)
class Candidates:
    """What rules choose from: checkpoints that are complete, quiet, and what a training goes on from.

    Of an own run all of them; of a foreign one those of one series.
    """

    newest: Sequence[Checkpoint]
    """Newest first."""
    now: float = 0.0
    """Unix seconds."""
    own: bool = True
    linked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Checkpoint id to the symbolic links elsewhere that lead to it."""
    series: str | None = None
    """The name of the series where the run has several."""
    _rankings: dict[tuple[str, Mode], Ranking] = field(default_factory=dict)

    def ranked(self, metric: str, mode: Mode) -> Ranking:
        """The candidates by a metric; worked out once."""
        known = self._rankings.get((metric, mode))
        if known is None:
            known = self._rankings[metric, mode] = Ranking(metric, self.newest, mode)
        return known

    @cached_property
    def alike(self) -> dict[Series, list[int]]:
        """Places by series, ascending; of an own run all are of one."""
        found: dict[Series, list[int]] = {}
        if self.own:
            return {("", "", ""): list(range(len(self.newest)))}
        for place, checkpoint in enumerate(self.newest):
            found.setdefault(series_of(checkpoint), []).append(place)
        return found

    @cached_property
    def furthest(self) -> list[int]:
        """Places by step and epoch, the highest first: the order of a copy, whose times tell how it was copied."""
        counts = [(-1 if c.step is None else c.step, _epoch(c)) for c in self.newest]
        return sorted(range(len(counts)), key=counts.__getitem__, reverse=True)

    @property
    def unit(self) -> str:
        """What `furthest` goes by."""
        return "epoch" if all(checkpoint.step is None for checkpoint in self.newest) else "step"


def _epoch(checkpoint: Checkpoint) -> float:
    return -1.0 if checkpoint.epoch is None or math.isnan(checkpoint.epoch) else checkpoint.epoch


Misses = Callable[[Sequence[int]], Sequence[Reason | None]]
"""Takes places in `Candidates.newest`; gives an answer for each."""


@dataclass(frozen=True)
class Selection:
    """What one rule makes of the candidates."""

    kept: Mapping[int, Reason]
    """Place in `Candidates.newest` to why this rule keeps what is there."""
    misses: Misses | None = None
    """For checkpoints that the rule does not keep: how near each came. None for rules without a measure of it."""
    changes_at: float | None = None
    """When the rule may keep others by the passing of time alone (Unix seconds)."""


Rule = Callable[[Candidates, Policy], Iterator[Selection]]
"""A rule gives nothing when the policy does not ask for it, and several selections when it asks more than once."""


def until(ends: Sequence[float], now: float) -> float | None:
    """The first of some times that is still to come."""
    return min((end for end in ends if now < end < math.inf), default=None)
