"""Rules that go by a number of the training: every N epochs or steps, and listed steps."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Literal

from ckpt.records import Reason
from ckpt.retention.candidates import Candidates, Selection
from ckpt.retention.policy import Policy

_EXACT = 2**53
"""Up to here every whole number is a float of its own; nothing counts further."""


def every_n_epochs(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """For every multiple of N the checkpoint of that epoch, else the one closest to it."""
    if policy.keep_every_n_epochs is not None:
        yield _grid(policy.keep_every_n_epochs, "epoch", [c.epoch for c in candidates.newest])


def every_n_steps(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """For every multiple of N the checkpoint of that step, else the one closest to it."""
    if policy.keep_every_n_steps is not None:
        yield _grid(policy.keep_every_n_steps, "step", [c.step for c in candidates.newest])


def listed_steps(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The newest checkpoint of every step that the policy lists."""
    if not policy.keep_steps:
        return
    steps = [c.step for c in candidates.newest]
    places = _newest_of(steps)
    kept = {
        places[step]: Reason(rule="steps", text=f"step {step} is listed", value=step)
        for step in policy.keep_steps
        if step in places
    }
    older, unlisted = Reason(rule="steps", text="steps: a newer one of the same step is kept"), "steps: not listed"
    other, listed = Reason(rule="steps", text=unlisted), frozenset(policy.keep_steps)
    yield Selection(kept, lambda asked: [older if steps[place] in listed else other for place in asked])


def _newest_of(values: Sequence[float | None]) -> dict[float | None, int]:
    """Each value and the place of the newest checkpoint that has it."""
    return dict(zip(reversed(values), range(len(values) - 1, -1, -1), strict=True))


def _grid(n: int, unit: Literal["epoch", "step"], values: Sequence[float | None]) -> Selection:
    """A value belongs to the multiple of N that it is nearest to, half way to the higher one; of every multiple the
    closest value stays, of two equally close ones the higher. To 0 belongs 0 alone: a run need not begin with one."""
    rule = f"every_n_{unit}s"
    title = f"every {n} {unit}s" if n > 1 else f"every {unit}"
    places = _newest_of(values)
    ordered = sorted(v for v in places if v is not None and -_EXACT <= v <= _EXACT)
    half = n / 2 if n % 2 else n // 2
    kept: dict[int, Reason] = {}
    missed: dict[float | None, Reason] = {}
    start = 0
    while start < len(ordered):
        point = math.floor((2 * ordered[start] + n) / (2 * n)) * n
        end = bisect_left(ordered, point + half, start + 1)
        closest = _closest(ordered, point, start, end)
        if point == 0 and closest != 0:
            said = f"{title}: nearest grid 0 takes {unit} 0 alone"
            missed |= dict.fromkeys(ordered[start:end], Reason(rule=rule, text=said, limit=n, value=0.0))
        else:
            name, at = f"{unit} {closest:.12g}", "" if closest == point else f", closest to {point}"
            kept[places[closest]] = Reason(rule=rule, text=f"{title}: {name}{at}", limit=n, value=closest)
            if end - start > 1:
                by = "" if closest == point else f" by {closest:.12g}"
                said = f"{title}: nearest grid {point} taken{by}"
                missed |= dict.fromkeys(ordered[start:end], Reason(rule=rule, text=said, limit=n, value=closest))
            said = f"{title}: a newer one of {name} is kept"
            missed[closest] = Reason(rule=rule, text=said, limit=n, value=closest)
        start = end
    nothing = Reason(rule=rule, text=f"{title}: no {unit} recorded", limit=n)
    beyond = Reason(rule=rule, text=f"{title}: its {unit} is no number that counts", limit=n)
    return Selection(
        kept,
        lambda asked: [missed.get(v, nothing if v is None else beyond) for v in map(values.__getitem__, asked)],
    )


def _closest(ordered: Sequence[float], point: int, start: int, end: int) -> float:
    """Of ascending values the one closest to a point; of equally close ones the higher."""
    above = bisect_left(ordered, point, start, end)
    if above == start:
        return ordered[above]
    if above == end or point - ordered[above - 1] < ordered[above] - point:
        return ordered[above - 1]
    return ordered[above]
