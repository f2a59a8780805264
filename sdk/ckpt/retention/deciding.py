"""From the selections of all rules to one verdict for each candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckpt.records import Checkpoint, Reason, Record, Verdict
from ckpt.retention.budget import room
from ckpt.retention.candidates import Candidates, Misses, Selection
from ckpt.retention.counts import odd_values
from ckpt.retention.policy import Policy
from ckpt.retention.rules import AT_ONCE, FLOOR, RULES


class Decision(Record, frozen=True, kw_only=True, gc=False):
    """One checkpoint and what is to become of it."""

    checkpoint: Checkpoint
    verdict: Verdict


@dataclass(frozen=True)
class Decided:
    """What the rules make of the candidates, each list newest first."""

    keep: list[Decision]
    remove: list[Decision]
    """What nothing keeps, each with how near it came to every rule."""
    changes_at: float | None
    """When time alone may change it (Unix seconds)."""


def decide(candidates: Candidates, policy: Policy) -> Decided:
    """Kept is the union of what every rule keeps, and of what the budget has room for."""
    selections = [selection for rule in (*RULES, *FLOOR) for selection in rule(candidates, policy)]
    kept: dict[int, list[Reason]] = {}
    for selection in selections:
        for place, reason in selection.kept.items():
            kept.setdefault(place, []).append(reason)
    newest = candidates.newest
    left_over = [place for place in range(len(newest)) if place not in kept]
    misses = [selection.misses for selection in selections if selection.misses is not None]
    budget = room(newest, left_over, policy)
    if budget is not None:
        kept |= {place: [reason] for place, reason in budget.stays.items()}
        left_over = [place for place in left_over if place in budget.goes]
        misses.append(lambda places: [budget.goes[place] for place in places])
    odd = odd_values(candidates, policy)
    return Decided(
        keep=[_kept(newest[place], kept[place], odd.get(place, ())) for place in sorted(kept)],
        remove=_removed(newest, left_over, misses),
        changes_at=_changes_at(selections),
    )


def reassured(
    inside: Sequence[Checkpoint], settling: Sequence[Checkpoint], policy: Policy, now: float
) -> dict[str, list[Reason]]:
    """Of checkpoints that have not settled those that stay whatever the rules say: id to why.

    They count for no rule meanwhile: what is `inside` is decided on without them.
    """
    if not settling:
        return {}
    # What was touched last goes first, without an order of all: these rules ask for none but among equals.
    everything = Candidates([*settling, *inside], now, own=False)
    found: dict[str, list[Reason]] = {}
    for rule in AT_ONCE:
        for selection in rule(everything, policy):
            for place, reason in selection.kept.items():
                if place < len(settling):
                    found.setdefault(settling[place].id, []).append(reason)
    return found


def _kept(checkpoint: Checkpoint, reasons: Sequence[Reason], odd: tuple[Reason, ...]) -> Decision:
    return Decision(checkpoint=checkpoint, verdict=Verdict(action="keep", reasons=tuple(reasons), near_misses=odd))


def _removed(newest: Sequence[Checkpoint], left_over: Sequence[int], misses: Sequence[Misses]) -> list[Decision]:
    if not misses:
        return [Decision(checkpoint=newest[place], verdict=Verdict(action="remove")) for place in left_over]
    # Rule by rule and not checkpoint by checkpoint: runs of 100 000 are planned anew at every change.
    rows = zip(*(miss(left_over) for miss in misses), strict=True)
    return [
        Decision(
            checkpoint=newest[place],
            verdict=Verdict(action="remove", near_misses=row if all(row) else tuple(filter(None, row))),
        )
        for place, row in zip(left_over, rows, strict=True)
    ]


def _changes_at(selections: Sequence[Selection]) -> float | None:
    return min((s.changes_at for s in selections if s.changes_at is not None), default=None)
