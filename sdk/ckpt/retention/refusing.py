"""Why a plan is not carried out although its rules leave something over, or only when a person confirms it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ckpt.encoding import printable
from ckpt.records import Checkpoint
from ckpt.retention.candidates import FORK_LABEL
from ckpt.retention.policy import DEFAULT_MONITOR, Policy
from ckpt.retention.situation import Situation
from ckpt.retention.words import percent


def refusal(inside: Sequence[Checkpoint], kept: int, policy: Policy, situation: Situation) -> str | None:
    """Why nothing may be removed; None when it may. `kept` is how many of `inside` stay."""
    if not kept:
        return "no complete checkpoint would be left"
    if not situation.own and policy.keep_best is not None and policy.monitor is None:
        return "the best are asked for, and no metric is known to choose them by; say monitor=NAME"
    for monitor in policy.monitors:
        named = monitor.keep is not None or monitor.metric != DEFAULT_MONITOR
        # What is attached to the start of a fork was measured in another run.
        values = (c.value(monitor.metric) for c in inside if c.label != FORK_LABEL)
        if named and all(value is None for value in values):
            return _nobody_recorded(monitor.metric, inside)
    return None


def question(removed: int, of: int, policy: Policy, situation: Situation) -> str | None:
    """Why the removal of `removed` of `of` checkpoints has to be confirmed; None when it has not."""
    asked = []
    if situation.guessed and (policy.keep_best is not None or not policy.keep_best_of):
        name = printable(policy.metric)
        asked.append(
            f"best by {name} is a guess: its trainer names no metric; say monitor={name} if it is right, or the one "
            "that is, or monitor=none where there is no best"
        )
    elif not (situation.own or policy.monitor is not None or policy.unmonitored or policy.keep_best_of):
        asked.append("no metric is known to tell the best by, so it is not kept; say monitor=NAME, or monitor=none")
    mine, timed = situation.own and situation.own_policy, _timed(policy)
    if removed > policy.max_share * of and (timed or not mine):
        share, limit = percent(removed / of), percent(policy.max_share)
        why = f", and goes by time ({', '.join(timed)})" if mine else ""
        asked.append(f"removes {removed} of {of} ({share}), more than max_share {limit}{why}")
    return "; ".join(asked) or None


def _timed(policy: Policy) -> list[str]:
    """The rules that a pause or a clock that jumps makes leave over nearly all."""
    reaching = any(stretch.get("within") is not None for stretch in policy.keep_every)
    given = {"keep_within": policy.keep_within, "keep_every": reaching or None, "max_age": policy.max_age}
    return [name for name, value in given.items() if value is not None]


def _nobody_recorded(metric: str, inside: Sequence[Checkpoint]) -> str:
    """A metric that nobody ever recorded is a wrong name: what is best is unknown, so nothing may go."""
    known = sorted({name for c in inside if c.label != FORK_LABEL for name in c.metrics})
    near = difflib.get_close_matches(metric, known, n=1, cutoff=0.5)
    if near:
        hint = f"; did you mean {printable(near[0])}?"
    else:
        hint = f"; recorded: {', '.join(printable(name) for name in known[:6])}" if known else ""
    return f"no checkpoint has {printable(metric)} recorded, so the best is unknown{hint}"
