"""When a disk will be full. Pure.

Two things tell: what free space did over the last hour, and what the running trainings will write by their measured
size and cadence. The trainings are computed, because a save every two hours is no trend within one, and because what
their policies remove stays in the trash first and then makes room again, which no trend shows. What free space loses
beside them is believed as it was observed; and where several saves fell into the hour that was observed, trainings
are not believed to take more than was lost.

A trend needs ten minutes, and it has to hold over the whole time and over the second half of it: neither a file that
came and went nor a copy that is over makes one. What lies in the trash is not counted as free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from ckptd.space.cadence import SAVES_MIN, Cadence
from ckptd.space.samples import Sample

SEEN_MIN_S = 600.0  # a shorter time says nothing about when a disk is full
FAR_S = 30 * 86400.0  # what is farther away than this is not foretold
_POINTS = 60  # samples of a window that are compared, each with each
_NOISE = 2.0  # a trend loses this many times as much as single samples are off it


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
    growths.append(Growth(max(0.0, (observed or 0.0) - expected)))
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
    if len(samples) < 4 or samples[-1].at - samples[0].at < SEEN_MIN_S:
        return None
    middle = (samples[0].at + samples[-1].at) / 2
    whole = _slope(samples)
    later = _slope([sample for sample in samples if sample.at >= middle])
    return max(0.0, min(whole, later))


def _slope(samples: Sequence[Sample]) -> float:
    """The median of the paces between all pairs of samples (Theil and Sen), which a few of them cannot turn.

    0 where single samples are off the line by as much as it falls.
    """
    chosen = _thinned(samples)
    paces = [
        (earlier.free - later.free) / (later.at - earlier.at)
        for index, earlier in enumerate(chosen)
        for later in chosen[index + 1 :]
        if later.at > earlier.at
    ]
    if not paces:
        return 0.0
    pace = median(paces)
    start = median(sample.free + pace * sample.at for sample in chosen)
    off = median(abs(sample.free + pace * sample.at - start) for sample in chosen)
    lost = abs(pace) * (chosen[-1].at - chosen[0].at)
    return pace if lost > _NOISE * off else 0.0


def _thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    """At most so many samples, spread evenly, the last among them."""
    if len(samples) <= _POINTS:
        return samples
    last = len(samples) - 1
    return [samples[round(index * last / (_POINTS - 1))] for index in range(_POINTS)]


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
