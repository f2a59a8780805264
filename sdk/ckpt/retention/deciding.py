"""From the selections of all rules to one verdict for each candidate."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

from ckpt.records import Checkpoint, Reason, Record, Verdict
from ckpt.retention.budget import Room, room
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
    """Kept is the union of what every rule keeps, and of what the budget has room for.

    The rules hold for every series of a foreign run by itself, the budget for the whole run.
    """
    inside = candidates.newest
    parts = [_chosen(places, series, policy) for places, series in _series(candidates)]
    kept = {place: reasons for part in parts for place, reasons in part.kept.items()}
    left_over = [place for place in range(len(inside)) if place not in kept]
    budget = room(inside, left_over, policy)
    if budget is not None:
        kept |= {place: [reason] for place, reason in budget.stays.items()}
    odd = {place: reasons for part in parts for place, reasons in part.odd.items()}
    going = {place: d for part in parts for place, d in _removed(inside, kept, part, budget)}
    return Decided(
        keep=[_kept(inside[place], kept[place], odd.get(place, ())) for place in sorted(kept)],
        remove=list(going.values()) if len(parts) == 1 else [going[place] for place in sorted(going)],
        changes_at=min((part.changes_at for part in parts if part.changes_at is not None), default=None),
    )


def reassured(candidates: Candidates, settling: Sequence[Checkpoint], policy: Policy) -> dict[str, list[Reason]]:
    """Of checkpoints that have not settled those that stay whatever the rules say: id to why.

    They count for no rule meanwhile: what else there is, is decided on without them.
    """
    found: dict[str, list[Reason]] = {}
    for series, places in replace(candidates, newest=settling).alike.items():
        # What was touched last goes first, without an order of all: these rules ask for none but among equals.
        new = [settling[place] for place in places]
        known = [candidates.newest[place] for place in candidates.alike.get(series, ())]
        everything = replace(candidates, newest=[*new, *known], _rankings={})
        for rule in AT_ONCE:
            for selection in rule(everything, policy):
                for place, reason in selection.kept.items():
                    if place < len(new):
                        found.setdefault(new[place].id, []).append(reason)
    return found


def _series(candidates: Candidates) -> Iterator[tuple[Sequence[int], Candidates]]:
    """What the rules choose from by themselves: ascending places, and what is there."""
    if len(candidates.alike) < 2:
        yield range(len(candidates.newest)), candidates
        return
    for series, places in candidates.alike.items():
        newest = [candidates.newest[place] for place in places]
        yield places, replace(candidates, newest=newest, series=series[2], _rankings={})


@dataclass(frozen=True)
class _Chosen:
    """What the rules make of one series; places are those in the whole run, but for the misses."""

    places: Sequence[int]
    kept: dict[int, list[Reason]]
    odd: dict[int, tuple[Reason, ...]]
    misses: list[Misses]
    changes_at: float | None


def _chosen(places: Sequence[int], candidates: Candidates, policy: Policy) -> _Chosen:
    selections = [selection for rule in (*RULES, *FLOOR) for selection in rule(candidates, policy)]
    kept: dict[int, list[Reason]] = {}
    for selection in selections:
        for place, reason in selection.kept.items():
            kept.setdefault(places[place], []).append(reason)
    odd = {places[place]: reasons for place, reasons in odd_values(candidates, policy).items()}
    misses = [selection.misses for selection in selections if selection.misses is not None]
    return _Chosen(places, kept, odd, misses, _changes_at(selections))


def _kept(checkpoint: Checkpoint, reasons: Sequence[Reason], odd: tuple[Reason, ...]) -> Decision:
    return Decision(checkpoint=checkpoint, verdict=Verdict(action="keep", reasons=tuple(reasons), near_misses=odd))


def _removed(
    inside: Sequence[Checkpoint], kept: Container[int], part: _Chosen, budget: Room | None
) -> Iterator[tuple[int, Decision]]:
    """What of a series nothing keeps: its place in the run, and the decision."""
    left_over = [here for here, place in enumerate(part.places) if place not in kept]
    places = [part.places[here] for here in left_over]
    # Rule by rule and not checkpoint by checkpoint: runs of 100 000 are planned anew at every change.
    answers = [miss(left_over) for miss in part.misses]
    if budget is not None:
        answers.append([budget.goes[place] for place in places])
    rows = zip(*answers, strict=True) if answers else ((),) * len(places)
    for place, row in zip(places, rows, strict=True):
        misses = row if all(row) else tuple(filter(None, row))
        yield place, Decision(checkpoint=inside[place], verdict=Verdict(action="remove", near_misses=misses))


def _changes_at(selections: Sequence[Selection]) -> float | None:
    return min((s.changes_at for s in selections if s.changes_at is not None), default=None)
