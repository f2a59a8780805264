"""Rules that go by the time of the save."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ckpt.records import Reason
from ckpt.retention.candidates import Candidates, Selection, until
from ckpt.retention.policy import Policy
from ckpt.retention.quantities import duration_text
from ckpt.retention.words import moment


def every(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The newest of every hour, day, week or other stretch, counted in UTC from 1970 on."""
    for asked in policy.keep_every:
        length = asked["every"]
        if length is not None:
            yield _stretches(candidates, length, asked.get("within"))


def within(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What was saved shortly before the newest, however long ago that is."""
    if policy.keep_within is None:
        return
    title, checkpoints = f"within {duration_text(policy.keep_within)} of the newest", candidates.newest
    oldest = _reach(candidates, policy.keep_within)
    reason = Reason(rule="within", text=title)

    def misses(places: Sequence[int]) -> list[Reason | None]:
        return [Reason(rule="within", text=f"{title}: saved {moment(checkpoints[p].saved_at)}") for p in places]

    kept = {place: reason for place, checkpoint in enumerate(checkpoints) if not checkpoint.saved_at < oldest}
    yield Selection(kept, misses, until([c.saved_at for c in checkpoints], candidates.now))


def young(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What is younger than `max_age` now; a time that is still to come is young."""
    age = policy.max_age
    if age is None:
        return
    title, ends = f"than max_age {duration_text(age)}", [c.saved_at + age for c in candidates.newest]
    kept = {
        place: Reason(rule="max_age", text=f"younger {title} until {moment(end)}")
        for place, end in enumerate(ends)
        if end > candidates.now
    }

    def misses(places: Sequence[int]) -> list[Reason | None]:
        return [Reason(rule="max_age", text=f"older {title} since {moment(ends[place])}") for place in places]

    yield Selection(kept, misses, until(ends, candidates.now))


def _stretches(candidates: Candidates, length: float, reach: float | None) -> Selection:
    title, checkpoints = f"every {duration_text(length).removeprefix('1 ')}", candidates.newest
    if reach is not None:
        title = f"{title} within {duration_text(reach)} of the newest"
    oldest = -math.inf if reach is None else _reach(candidates, reach)
    kept: dict[int, Reason] = {}
    missed: dict[float, Reason] = {}
    for place, checkpoint in enumerate(checkpoints):
        saved = checkpoint.saved_at
        if not oldest <= saved < math.inf:
            continue
        number = saved // length
        if number not in missed:
            start = moment(number * length)
            kept[place] = Reason(rule="every", text=f"{title}: newest from {start} on")
            missed[number] = Reason(rule="every", text=f"{title}: a newer one from {start} on is kept")
    out = Reason(rule="every", text=f"{title}: too old")

    def misses(places: Sequence[int]) -> list[Reason | None]:
        return [
            missed[saved // length] if oldest <= (saved := checkpoints[place].saved_at) < math.inf else out
            for place in places
        ]

    return Selection(kept, misses, None if reach is None else until([c.saved_at for c in checkpoints], candidates.now))


def _reach(candidates: Candidates, seconds: float) -> float:
    """The time so long before the newest checkpoint. One whose time is still to come tells nothing of the others."""
    newest = next((c.saved_at for c in candidates.newest if c.saved_at <= candidates.now), -math.inf)
    return newest - seconds
