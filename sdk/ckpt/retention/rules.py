"""The rules, one small function each, and the floor below them.

A rule sees the candidates of one run in the orders that rules go by, and says which it keeps and, for the others, how
near they came. It returns None when the policy does not ask for it. Rules never look at each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from ckpt import refs
from ckpt.encoding import printable
from ckpt.records import Checkpoint, Reason
from ckpt.retention.policy import Policy

FORK_LABEL = "fork"
"""Label of the checkpoint that a forked run starts with; its values are the parent's."""


@dataclass(frozen=True)
class Candidates:
    """The complete checkpoints of one run."""

    newest: Sequence[Checkpoint]
    """Newest first."""
    metric: str
    mode: Literal["min", "max"]

    @cached_property
    def values(self) -> list[float | None]:
        """The metric of each; a fork's start has none, because its values are its parent's achievement."""
        metric = self.metric
        return [None if c.label == FORK_LABEL else c.value(metric) for c in self.newest]

    @cached_property
    def best(self) -> list[int]:
        """Places in `newest` of those with a finite value, best first."""
        return refs.ranking(self.values, self.mode)

    @cached_property
    def ranks(self) -> list[int]:
        """The rank of each among the best, from 1; 0 for those that cannot be ranked."""
        ranks = [0] * len(self.newest)
        for rank, place in enumerate(self.best, 1):
            ranks[place] = rank
        return ranks


Misses = Callable[[Sequence[int]], list[Reason | None]]
"""Takes places in `Candidates.newest`; gives an answer for each."""


@dataclass(frozen=True)
class Selection:
    """What one rule makes of the candidates."""

    kept: dict[str, Reason]
    """Checkpoint id to why this rule keeps it."""
    misses: Misses | None = None
    """For checkpoints that the rule does not keep: how near each came. None for rules without a measure of it."""


Rule = Callable[[Candidates, Policy], Selection | None]


def last(candidates: Candidates, policy: Policy) -> Selection | None:
    """The N newest."""
    limit = policy.keep_last
    if limit is None:
        return None
    kept = {
        checkpoint.id: Reason(rule="last", text=f"last #{place} of {limit}", rank=place, limit=limit)
        for place, checkpoint in enumerate(candidates.newest[:limit], 1)
    }

    def misses(places: Sequence[int]) -> list[Reason | None]:
        return [
            Reason(rule="last", text=f"last: #{place + 1}, keeps {limit}", rank=place + 1, limit=limit)
            for place in places
        ]

    return Selection(kept, misses)


def best(candidates: Candidates, policy: Policy) -> Selection | None:
    """The N best by the monitor."""
    if policy.keep_best is None:
        return None
    return _top(candidates, policy.keep_best, f"best #{{}} of {policy.keep_best}")


def every_n_epochs(candidates: Candidates, policy: Policy) -> Selection | None:
    """The newest checkpoint of every epoch that N divides; epoch 0 is one of them."""
    n = policy.keep_every_n_epochs
    return None if n is None else _grid(candidates, n, "epoch", [c.epoch for c in candidates.newest])


def every_n_steps(candidates: Candidates, policy: Policy) -> Selection | None:
    """The newest checkpoint of every step that N divides."""
    n = policy.keep_every_n_steps
    return None if n is None else _grid(candidates, n, "step", [c.step for c in candidates.newest])


def newest(candidates: Candidates, policy: Policy) -> Selection:
    """The newest complete checkpoint, whatever the policy."""
    reason = Reason(rule="newest", text="newest complete (floor)")
    return Selection({checkpoint.id: reason for checkpoint in candidates.newest[:1]})


def best_of_all(candidates: Candidates, policy: Policy) -> Selection | None:
    """The best checkpoint, also under a policy that asks for no best ones."""
    return None if policy.keep_best is not None else _top(candidates, 1, "best")


def pinned(candidates: Candidates, policy: Policy) -> Selection:
    """What the user pinned."""
    return Selection({c.id: Reason(rule="pinned", text="pinned") for c in candidates.newest if c.pinned})


def tagged(candidates: Candidates, policy: Policy) -> Selection:
    """What the user tagged; the tags that move by themselves protect nothing."""
    kept = {}
    for checkpoint in candidates.newest:
        if checkpoint.tags:
            names = [tag for tag in checkpoint.tags if not refs.RESERVED_TAG.match(tag)]
            if names:
                kept[checkpoint.id] = Reason(rule="tagged", text=f"tagged {printable(', '.join(names))}")
    return Selection(kept)


def held(candidates: Candidates, policy: Policy) -> Selection:
    """What somebody else needs: the parent of a fork, the target of a pointer."""
    return Selection(
        {
            c.id: Reason(rule="held", text=f"held: {printable(', '.join(c.held_by))}")
            for c in candidates.newest
            if c.held_by
        }
    )


def fork_start(candidates: Candidates, policy: Policy) -> Selection:
    """The checkpoint that a forked run began with."""
    reason = Reason(rule="fork", text="start of this fork")
    return Selection({c.id: reason for c in candidates.newest if c.label == FORK_LABEL})


RULES: tuple[Rule, ...] = (last, best, every_n_epochs, every_n_steps)
"""What a policy can ask for."""

FLOOR: tuple[Rule, ...] = (newest, best_of_all, pinned, tagged, held, fork_start)
"""What is kept under every policy that removes anything."""


def unranked(candidates: Candidates, place: int) -> Reason | None:
    """Why a checkpoint has no rank among the best: its value is missing or not finite."""
    checkpoint, metric = candidates.newest[place], candidates.metric
    if checkpoint.label == FORK_LABEL:
        return None
    name, value = printable(metric), checkpoint.value(metric)
    if value is None:
        return Reason(rule="best", text=f"no {name} recorded: not ranked", metric=metric)
    shown = "NaN" if math.isnan(value) else "infinite"
    return Reason(rule="best", text=f"{name} is {shown}: not ranked", metric=metric, value=value)


def _top(candidates: Candidates, limit: int, title: str) -> Selection:
    metric, values, ranks = candidates.metric, candidates.values, candidates.ranks
    name = printable(metric)
    kept = {}
    cutoff = math.nan
    for rank, place in enumerate(candidates.best[:limit], 1):
        cutoff = values[place] or 0.0
        text = f"{title.format(rank)} by {name} ({cutoff:.4g})"
        kept[candidates.newest[place].id] = Reason(
            rule="best", text=text, rank=rank, limit=limit, metric=metric, value=cutoff
        )

    def miss(place: int) -> Reason | None:
        rank = ranks[place]
        if not rank:
            return unranked(candidates, place)
        value = values[place] or 0.0
        gap = abs(value - cutoff)
        how = f"{gap:.2g} worse than #{limit}" if gap else f"equal to #{limit}, older"
        text = f"best: #{rank}, keeps {limit} ({how})"
        return Reason(rule="best", text=text, rank=rank, limit=limit, metric=metric, value=value, cutoff=cutoff)

    return Selection(kept, lambda places: [miss(place) for place in places])


def _grid(candidates: Candidates, n: int, unit: Literal["epoch", "step"], values: Sequence[float | None]) -> Selection:
    rule = f"every_n_{unit}s"
    title = f"every {n} {unit}s" if n > 1 else f"every {unit}"
    kept: dict[str, Reason] = {}
    seen: set[float] = set()
    for checkpoint, value in zip(candidates.newest, values, strict=True):
        # Zero as the remainder also says that the value is finite and whole.
        if value is not None and value % n == 0 and value not in seen:
            seen.add(value)
            kept[checkpoint.id] = Reason(rule=rule, text=f"{title}: {unit} {int(value)}", limit=n, value=value)

    @cache
    def near(value: float | None) -> Reason:
        if value is None or not math.isfinite(value):
            return Reason(rule=rule, text=f"{title}: no {unit} recorded", limit=n)
        if value % n == 0:
            what = f"a newer one of {unit} {int(value)} is kept"
        else:
            what = f"{int(value)} is no multiple" if value % 1 == 0 else f"{value:g} is no whole {unit}"
        return Reason(rule=rule, text=f"{title}: {what}", limit=n, value=value)

    return Selection(kept, lambda places: [near(values[place]) for place in places])
