"""Rules that count: the newest ones, and the best ones by each metric."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ckpt.encoding import printable
from ckpt.records import Reason
from ckpt.retention.candidates import FORK_LABEL, Candidates, Ranking, Selection, until
from ckpt.retention.policy import Monitor, Policy
from ckpt.retention.quantities import duration_text
from ckpt.retention.words import moment


def last(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The N newest. Of a foreign run, whose order is only inferred, also the N of the highest step and epoch."""
    limit = policy.keep_last
    if limit is None:
        return

    def misses(places: Sequence[int]) -> list[Reason | None]:
        end = f", keeps {limit}"
        return [Reason(rule="last", text=f"last: #{place + 1}{end}", rank=place + 1, limit=limit) for place in places]

    kept = {
        place: Reason(rule="last", text=f"last #{place + 1} of {limit}", rank=place + 1, limit=limit)
        for place in range(min(limit, len(candidates.newest)))
    }
    if not candidates.own:
        for rank, place in enumerate(candidates.furthest[:limit], 1):
            text = f"last #{rank} of {limit} by {candidates.unit}"
            kept.setdefault(place, Reason(rule="last", text=text, rank=rank, limit=limit))
    yield Selection(kept, misses)


def best(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The N best by every metric that the policy asks for."""
    for asked in policy.monitors:
        if asked.keep is not None:
            yield _top(candidates, policy, asked)


def best_of_all(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The best checkpoint by the monitor, also under a policy that asks for no best ones."""
    for asked in policy.monitors:
        named = asked.metric != policy.metric or policy.monitor is not None
        if asked.keep is None and (named or candidates.ranked(asked.metric, asked.mode).best):
            yield _top(candidates, policy, asked)


def very_best(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """The one best checkpoint by each monitor, however many a rule asks for."""
    for asked in policy.monitors:
        yield _top(candidates, policy, asked._replace(keep=None))


def not_measured(candidates: Candidates, policy: Policy) -> Iterator[Selection]:
    """What has no value of a metric yet that the best are chosen by, as long as an evaluation may still come."""
    if policy.missing_metric != "keep":
        return
    for asked in policy.monitors:
        if asked.keep is None:
            continue
        name, grace = printable(asked.metric), policy.metric_grace
        ends = {
            place: end
            for place in candidates.ranked(asked.metric, asked.mode).missing
            if (end := candidates.newest[place].saved_at + grace) > candidates.now
        }
        kept = {
            place: Reason(rule="missing_metric", text=f"waits for {name} until {moment(end)}", metric=asked.metric)
            for place, end in ends.items()
        }
        yield Selection(kept, changes_at=until(list(ends.values()), candidates.now))


def odd_values(candidates: Candidates, policy: Policy) -> dict[int, tuple[Reason, ...]]:
    """By place the values that are there and cannot be ranked; said even where something else keeps the checkpoint."""
    found: dict[int, tuple[Reason, ...]] = {}
    for asked in policy.monitors:
        ranking = candidates.ranked(asked.metric, asked.mode)
        if len(ranking.best) == len(ranking.values):
            continue
        for place, value in enumerate(ranking.values):
            if value is not None and not ranking.ranks[place]:
                reason = _unranked(ranking, policy, asked, place)
                found[place] = (*found.get(place, ()), *(() if reason is None else (reason,)))
    return found


def _unranked(ranking: Ranking, policy: Policy, asked: Monitor, place: int) -> Reason | None:
    """Why a checkpoint has no rank among the best: its value is missing or not finite."""
    if ranking.newest[place].label == FORK_LABEL:
        return None
    name, value = printable(asked.metric), ranking.values[place]
    if value is not None:
        shown = "NaN" if value != value else "infinite" if abs(value) == math.inf else "beyond all numbers"
        return Reason(rule="best", text=f"{name} is {shown}: not ranked", metric=asked.metric, value=value)
    waited = asked.keep is not None and policy.missing_metric == "keep" and policy.metric_grace > 0
    when = f"within {duration_text(policy.metric_grace)} of its save" if waited else "recorded"
    return Reason(rule="best", text=f"no {name} {when}: not ranked", metric=asked.metric)


def _top(candidates: Candidates, policy: Policy, asked: Monitor) -> Selection:
    ranking = candidates.ranked(asked.metric, asked.mode)
    metric, values, ranks, limit = asked.metric, ranking.values, ranking.ranks, asked.keep or 1
    name = printable(metric)
    said = "best" if metric == policy.metric else f"best by {name}"
    kept = {}
    cutoff = math.nan
    for rank, place in enumerate(ranking.best[:limit], 1):
        cutoff = values[place] or 0.0
        title = "best" if asked.keep is None else f"best #{rank} of {limit}"
        text = f"{title} by {name} ({cutoff:.4g})"
        kept[place] = Reason(rule="best", text=text, rank=rank, limit=limit, metric=metric, value=cutoff)

    def misses(places: Sequence[int]) -> list[Reason | None]:
        found: list[Reason | None] = []
        worse, equal = f" worse than #{limit})", f"equal to #{limit}, older)"
        middle = f", keeps {limit} ("
        for place in places:
            rank = ranks[place]
            if not rank:
                found.append(_unranked(ranking, policy, asked, place))
                continue
            value = values[place] or 0.0
            gap = abs(value - cutoff)
            how = f"{gap:.2g}{worse}" if gap else equal
            text = f"{said}: #{rank}{middle}{how}"
            found.append(
                Reason(rule="best", text=text, rank=rank, limit=limit, metric=metric, value=value, cutoff=cutoff)
            )
        return found

    return Selection(kept, misses)
