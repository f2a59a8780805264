"""What is kept under every policy that removes anything."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt import refs
from ckpt.encoding import printable
from ckpt.records import Checkpoint, Reason
from ckpt.retention.candidates import FORK_LABEL, Candidates, Selection, until
from ckpt.retention.policy import Policy
from ckpt.retention.quantities import duration_text
from ckpt.retention.recognising import Series, series_of
from ckpt.retention.words import moment


def newest(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The newest complete checkpoint. Of a foreign run, whose order is only inferred, also the newest by its time."""
    checkpoints = candidates.newest
    if checkpoints:
        yield Selection({0: Reason(rule="newest", text="newest complete (floor)")})
    if checkpoints and not candidates.own:
        latest = max(range(len(checkpoints)), key=lambda place: (checkpoints[place].saved_at, -place))
        if latest:
            yield Selection({latest: Reason(rule="newest", text="newest by the time of its save (floor)")})


def newest_of_series(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """Of a foreign run the newest of every series: another trainer's, or another half of the same one's."""
    if candidates.own:
        return
    found: dict[Series, int] = {}
    for place, checkpoint in enumerate(candidates.newest):
        found.setdefault(series_of(checkpoint), place)
    if len(found) > 1:
        yield Selection(
            {
                place: Reason(rule="series", text=f"newest of {printable(name[2]) or 'its series'}… (floor)")
                for name, place in found.items()
            }
        )


def pointed(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What the trainer of a foreign run would go on from."""
    reason = Reason(rule="pointed", text="the trainer goes on from it (floor)")
    yield Selection({place: reason for place, c in enumerate(candidates.newest) if c.pointed})


def pinned(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What the user pinned."""
    reason = Reason(rule="pinned", text="pinned")
    yield Selection({place: reason for place, c in enumerate(candidates.newest) if c.pinned})


def tagged(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What the user tagged; the tags that move by themselves protect nothing."""
    kept = {
        place: Reason(rule="tagged", text=f"tagged {printable(', '.join(names))}")
        for place, checkpoint in enumerate(candidates.newest)
        if checkpoint.tags and (names := given_tags(checkpoint))
    }
    untagged = Reason(rule="tagged", text="tagged: no tag")
    yield Selection(kept, (lambda places: [untagged] * len(places)) if policy.keep_tagged else None)


def held(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What somebody else needs: the parent of a fork, the target of a pointer."""
    yield Selection(
        {
            place: Reason(rule="held", text=f"held: {printable(', '.join(c.held_by))}")
            for place, c in enumerate(candidates.newest)
            if c.held_by
        }
    )


def fork_start(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The checkpoint that a forked run began with."""
    reason = Reason(rule="fork", text="start of this fork")
    yield Selection({place: reason for place, c in enumerate(candidates.newest) if c.label == FORK_LABEL})


def recent(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What of a foreign run was touched a short while ago; a time that is still to come is recent."""
    if candidates.own or not policy.min_age:
        return
    ends = [touched(c) + policy.min_age for c in candidates.newest]
    title = f"younger than min_age {duration_text(policy.min_age)} until"
    kept = {
        place: Reason(rule="min_age", text=f"{title} {moment(end)} (floor)")
        for place, end in enumerate(ends)
        if end > candidates.now
    }
    yield Selection(kept, changes_at=until(ends, candidates.now))


def touched(checkpoint: Checkpoint) -> float:
    """When anything in a checkpoint was written last, as far as that is known."""
    return checkpoint.touched_at or checkpoint.saved_at


def given_tags(checkpoint: Checkpoint) -> list[str]:
    """The tags that a person gave."""
    return [tag for tag in checkpoint.tags if not refs.RESERVED_TAG.match(tag)]
