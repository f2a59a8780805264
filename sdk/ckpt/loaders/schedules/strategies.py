"""Who is next among several loaders, and when an epoch of them is over: decisions, with no loader in sight."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum

STRATEGIES = ("sequential", "round_robin", "weighted", "alternating")
LENGTHS = ("shortest", "longest", "once", "infinite")


class Then(Enum):
    """What follows when a loader whose turn it is has no more batches."""

    OVER = "over"
    """The epoch is over."""
    ANEW = "anew"
    """It begins anew and gives its first batch."""
    PASS = "pass"
    """Somebody else is asked."""


@dataclass(frozen=True)
class Turns:
    """In which order loaders are asked, and how long. Loaders are numbers from 0."""

    strategy: str
    length: str | int
    """One of LENGTHS, or a number of batches."""
    loaders: int
    pattern: tuple[int, ...] = ()
    """Whose turn it is, turn by turn, from the beginning again after the last."""
    weights: tuple[float, ...] = ()

    @property
    def goes_on(self) -> bool:
        """Whether an epoch begins where the last one stopped: it is a piece of one endless order."""
        return self.length == "infinite" or isinstance(self.length, int)

    @property
    def in_blocks(self) -> bool:
        """Whether each loader gives all its batches of an epoch in one go."""
        return self.strategy == "sequential"

    @property
    def needs_lengths(self) -> bool:
        """Whether the lengths of all loaders have to be known before the first batch."""
        return self.in_blocks and self.length in ("shortest", "longest")

    @property
    def taking_part(self) -> frozenset[int]:
        """Loaders that are ever asked: with weights, those whose weight is not 0."""
        return frozenset(i for i in range(self.loaders) if not self.weights or self.weights[i] > 0)


@dataclass
class Progress:
    """How far an epoch is."""

    position: int = 0
    """Batches given in this epoch."""
    turn: int = 0
    """Turns that are over: the place in the pattern."""
    given: list[int] = field(default_factory=list)
    """Batches of each loader in this epoch."""
    through: set[int] = field(default_factory=set)
    """Loaders that came to their end at least once."""


def is_over(turns: Turns, progress: Progress, quota: int | None) -> bool:
    """Whether an epoch is over before anybody is asked. Pure.

    `quota` is how many batches each loader gives in its block, where the order needs lengths.
    """
    if isinstance(turns.length, int):
        return progress.position >= turns.length
    if turns.length == "once" or (turns.length == "longest" and not turns.in_blocks):
        return progress.through >= turns.taking_part
    return quota is not None and progress.turn >= turns.loaders


def next_loader(turns: Turns, progress: Progress, draw: Callable[[], float]) -> int:
    """Who is asked next. `draw` gives a number in [0, 1) and is called once with weights, and never without. Pure."""
    passed_over = progress.through if turns.length == "once" else ()
    if turns.weights:
        weights = [0.0 if i in passed_over else weight for i, weight in enumerate(turns.weights)]
        return drawn(weights, draw())
    pattern = turns.pattern
    turn = progress.turn
    while pattern[turn % len(pattern)] in passed_over:
        turn += 1
    progress.turn = turn
    return pattern[turn % len(pattern)]


def drawn(weights: Sequence[float], number: float) -> int:
    """The place that a number in [0, 1) falls on when places are as wide as their weights. Pure."""
    ends = list(itertools.accumulate(weights))
    place = bisect_right(ends, number * ends[-1])
    # Rounding can lead to the very end, and past places of weight 0.
    return place if place < len(ends) else max(i for i, weight in enumerate(weights) if weight > 0)


def after_batch(turns: Turns, progress: Progress, loader: int, quota: int | None, was_last: bool) -> None:
    """Notes that a loader gave a batch, and whether that is known to be the last of its pass."""
    progress.position += 1
    progress.given[loader] += 1
    if not turns.in_blocks or (quota is not None and progress.given[loader] >= quota):
        progress.turn += 1
    if was_last and turns.length == "longest":
        progress.through.add(loader)


def after_end(turns: Turns, progress: Progress, loader: int) -> Then:
    """Notes that a loader has no more batches, and says what follows."""
    progress.through.add(loader)
    if turns.in_blocks:
        if turns.length == "longest":
            return Then.ANEW
        progress.turn += 1
        return Then.PASS
    if turns.length == "shortest":
        return Then.OVER
    if turns.length == "longest":
        return Then.OVER if progress.through >= turns.taking_part else Then.ANEW
    return Then.PASS if turns.length == "once" else Then.ANEW


def after_epoch(turns: Turns, progress: Progress) -> Progress:
    """The progress at the beginning of the epoch that follows: an endless order goes on where it is. Pure."""
    return Progress(turn=progress.turn if turns.goes_on else 0, given=[0] * turns.loaders)


def is_exhausted(
    turns: Turns,
    progress: Progress,
    quota: int | None,
    draw: Callable[[], float],
    has_ended: Callable[[int], bool],
) -> bool:
    """Whether the epoch has no more batches, as far as `has_ended` knows of each loader. Changes nothing.

    `draw` has to be that of a copy of the generator.
    """
    progress = deepcopy(progress)
    for _ in range(2 * turns.loaders + 1):
        if is_over(turns, progress, quota):
            return True
        loader = next_loader(turns, progress, draw)
        if not has_ended(loader):
            return False
        then = after_end(turns, progress, loader)
        if then is not Then.PASS:
            return then is Then.OVER
    return False


def batches_of(turns: Turns, lengths: Sequence[int]) -> int | None:
    """How many batches an epoch has, from the lengths of the loaders; None where chance or nobody decides. Pure."""
    if isinstance(turns.length, int):
        return turns.length
    if turns.length == "infinite":
        return None
    if turns.length == "once":
        return sum(lengths[i] for i in turns.taking_part)
    shortest = turns.length == "shortest"
    if turns.in_blocks:
        return turns.loaders * (min(lengths) if shortest else max(lengths))
    if turns.weights:
        return None
    everybody = range(turns.loaders)
    if shortest:
        return min(_turn_of(turns.pattern, i, lengths[i]) for i in everybody)
    return max(_turn_of(turns.pattern, i, lengths[i] - 1) for i in everybody) + 1


def _turn_of(pattern: Sequence[int], loader: int, count: int) -> int:
    """The turn at which a loader is asked after it was asked `count` times; turns count from 0."""
    places = [place for place, whose in enumerate(pattern) if whose == loader]
    rounds, rest = divmod(count, len(places))
    return rounds * len(pattern) + places[rest]
