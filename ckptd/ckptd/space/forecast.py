"""When a disk will be full. Pure.

Two things tell: what free space did over the last hour, and what the running trainings will write by their measured
size and cadence. The trainings are computed, because a save every two hours is no trend within one, and because what
their policies remove stays in the trash first and then makes room again, which no trend shows. What free space loses
beside them is believed as it was observed; and where several saves fell into the hour that was observed, trainings
are not believed to take more than was lost.

A trend needs twenty minutes, in each sixth of which something was lost, or an hour with one pause: neither a file that
came and went nor a copy of ten minutes makes one. What lies in the trash is not counted as free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ckptd.space.cadence import SAVES_MIN, Cadence
from ckptd.space.samples import KEPT_S, Sample

SEEN_MIN_S = 1200.0  # a shorter time says nothing about when a disk is full
FAR_S = 30 * 86400.0  # what is farther away than this is not foretold
_WINDOWS = ((SEEN_MIN_S, 0), (KEPT_S, 1))  # seconds that are looked at, and how many parts of them may lose nothing
_PARTS = 6
_NOISE = 1.5  # a part loses this many times as much as single samples in it are off
_OFF = 0.1  # a loss beside the trainings that is a smaller share of theirs may be an error of measuring
_BACK = 0.25  # what may come back in one part, of what a part usually loses


@dataclass(frozen=True, slots=True)
class Growth:
    """Something that takes space at a steady pace: bytes in a second, until it has taken `most`; None for no end."""

    pace: float
    most: float | None = None


def full_in_s(free: int, samples: Sequence[Sample], trainings: Iterable[tuple[Cadence, int]] = ()) -> float | None:
    """Seconds until nothing is free; None when that is not foreseen within FAR_S.

    `samples` are of the disk, oldest first, the last one of now. `trainings` run on it, each with the bytes that lie in
    its trash already.
    """
    if free <= 0:
        return 0.0
    growing = [(cadence, growth_of(cadence, trashed)) for cadence, trashed in trainings]
    observed = pace_of(samples)
    expected = sum(growth.pace for _, pair in growing for growth in pair)
    believed = 1.0
    if observed is not None and growing:
        seen_s = samples[-1].at - samples[0].at
        if expected > 0 and all(SAVES_MIN * cadence.interval_s <= seen_s for cadence, _ in growing):
            believed = min(1.0, max(0.0, observed) / expected)
    growths = [Growth(growth.pace * believed, growth.most) for _, pair in growing for growth in pair]
    beside = (observed or 0.0) - expected
    growths.append(Growth(beside if beside > _OFF * expected else 0.0))
    seconds = _until_taken(free, growths)
    return seconds if seconds is not None and seconds <= FAR_S else None


def growth_of(cadence: Cadence, trashed: int) -> tuple[Growth, Growth]:
    """What a training takes for good, and what its trash takes until as much leaves it as comes.

    `trashed` are the bytes that lie in its trash already.
    """
    lasting, passing = cadence.pace * cadence.lasting, cadence.pace * (1 - cadence.lasting)
    return Growth(lasting), Growth(passing, max(0.0, passing * cadence.kept_for_s - trashed))


def pace_of(samples: Sequence[Sample]) -> float | None:
    """Bytes in a second that free space loses lastingly; 0 where it does not, None when too little was seen."""
    if not samples or samples[-1].at - samples[0].at < SEEN_MIN_S:
        return None
    now, seen_s = samples[-1].at, samples[-1].at - samples[0].at
    for window, pauses in _WINDOWS:
        pace = _lasting(samples, now - min(window, seen_s), pauses)
        if pace > 0:
            return pace
    return 0.0


def _lasting(samples: Sequence[Sample], since: float, pauses: int) -> float:
    """The pace of a loss that goes through all parts of the time since then but so many; 0 where none does.

    The median of each part is compared, so that what comes and goes within one is not seen.
    """
    width = (samples[-1].at - since) / _PARTS
    parts: list[list[int]] = [[] for _ in range(_PARTS)]
    for sample in samples:
        if sample.at >= since:
            parts[min(_PARTS - 1, int((sample.at - since) / width))].append(sample.free)
    if not all(parts):
        return 0.0
    levels = [median(part) for part in parts]
    losses = [earlier - later for earlier, later in pairwise(levels)]
    usual = median(losses)
    spread = median(median(abs(free - level) for free in part) for part, level in zip(parts, levels, strict=True))
    goes_on = sum(loss > 0 for loss in losses) >= len(losses) - pauses and min(losses) >= -_BACK * usual
    if not goes_on or usual <= _NOISE * spread:
        return 0.0
    return (levels[0] - levels[-1]) / (width * (_PARTS - 1))


def _until_taken(free: float, growths: Iterable[Growth]) -> float | None:
    """Seconds until all together have taken that much; None when they never do."""
    active = [growth for growth in growths if growth.pace > 0 and (growth.most is None or growth.most > 0)]
    ends = sorted((growth.most / growth.pace, growth.pace) for growth in active if growth.most is not None)
    pace, now = sum(growth.pace for growth in active), 0.0
    for end, ending in ends:
        taken = pace * (end - now)
        if taken >= free:
            break
        free, now, pace = free - taken, end, pace - ending
    return now + free / pace if pace > 1e-9 else None
