"""What is kept under every policy that removes anything."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt import refs
from ckpt.encoding import printable
from ckpt.records import Checkpoint, Reason
from ckpt.retention.candidates import FORK_LABEL, Candidates, Selection, until
from ckpt.retention.policy import Policy
from ckpt.retention.quantities import duration_text
from ckpt.retention.words import moment


def newest(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The newest complete checkpoint. Of a foreign run that of every series, and as its order is only inferred, also
    the newest by its time and the one that is furthest."""
    checkpoints = candidates.newest
    if not checkpoints:
        return
    which = "newest complete" if candidates.series is None else f"newest of {printable(candidates.series)}"
    yield Selection({0: Reason(rule="newest", text=f"{which} (floor)")})
    if candidates.own:
        return
    latest = max(range(len(checkpoints)), key=lambda place: (checkpoints[place].saved_at, -place))
    if latest:
        yield Selection({latest: Reason(rule="newest", text="newest by the time of its save (floor)")})
    furthest = candidates.furthest[0]
    if furthest:
        yield Selection({furthest: Reason(rule="newest", text=f"newest by its {candidates.unit} (floor)")})


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


def linked(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What symbolic links elsewhere lead to, as those of another run or of a paper do."""
    if candidates.linked:
        yield Selection(
            {
                place: Reason(rule="linked", text=f"linked from {printable(', '.join(candidates.linked[c.id]))}")
                for place, c in enumerate(candidates.newest)
                if c.id in candidates.linked
            }
        )


def fork_start(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The checkpoint that a forked run began with."""
    reason = Reason(rule="fork", text="start of this fork")
    yield Selection({place: reason for place, c in enumerate(candidates.newest) if c.label == FORK_LABEL})


def recent(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What of a foreign run was touched a short while ago; a time that is still to come is recent."""
    if candidates.own:
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
