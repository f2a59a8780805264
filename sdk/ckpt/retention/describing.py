"""A policy in plain sentences."""

from __future__ import annotations

from ckpt.encoding import printable
from ckpt.retention.policy import BUDGET_START, BUDGET_STOP, Monitor, Policy
from ckpt.retention.quantities import duration_text, size_text


def describe(policy: Policy) -> list[str]:
    """What a policy keeps, one sentence a rule, then what else it says that is not so by itself."""
    kept = [*_counted(policy), *_timed(policy), *_others(policy)]
    if not kept:
        return ["No rule is given: everything is kept."]
    return [*kept, *_always(policy), *_settings(policy)]


def _counted(policy: Policy) -> list[str]:
    told = []
    if policy.keep_last is not None:
        told.append(f"Keeps {_the(policy.keep_last, 'newest')}.")
    told += [f"Keeps {_the(m.keep, 'best')} by {_direction(m)}." for m in policy.monitors if m.keep is not None]
    for n, unit in ((policy.keep_every_n_epochs, "epoch"), (policy.keep_every_n_steps, "step")):
        if n == 1:
            told.append(f"Keeps one checkpoint of every {unit}.")
        elif n is not None:
            told.append(f"Keeps one checkpoint every {n} {unit}s: the exact multiple, else the closest to it.")
    return told


def _timed(policy: Policy) -> list[str]:
    told = []
    for stretch in policy.keep_every:
        every, within = stretch["every"] or 0.0, stretch["within"]
        reach = "" if within is None else f", as far back as {duration_text(within)} before the newest"
        told.append(f"Keeps the newest of every {duration_text(every).removeprefix('1 ')}{reach}.")
    if policy.keep_within is not None:
        told.append(f"Keeps what was saved within {duration_text(policy.keep_within)} before the newest.")
    if policy.max_age is not None:
        told.append(f"Keeps what is younger than {duration_text(policy.max_age)} now.")
    return told


def _others(policy: Policy) -> list[str]:
    told = []
    if policy.keep_steps:
        listed = ", ".join(str(step) for step in policy.keep_steps[:20])
        rest = f" and {len(policy.keep_steps) - 20} more" if len(policy.keep_steps) > 20 else ""
        told.append(f"Keeps step{'s' * (len(policy.keep_steps) > 1)} {listed}{rest}.")
    if policy.keep_tagged:
        told.append("Keeps what a person tagged.")
    if policy.max_bytes is not None:
        start, stop = (round(policy.max_bytes * part) for part in (BUDGET_START, BUDGET_STOP))
        told.append(
            f"Keeps the rest too while the run has room in {size_text(policy.max_bytes)}: "
            f"from {size_text(start)} on the oldest of it go, until {size_text(stop)} are left."
        )
    return told


def _always(policy: Policy) -> list[str]:
    bests = [_direction(monitor) for monitor in policy.monitors if monitor.keep is None]
    best = f", the best by {' and by '.join(bests)}" if bests else ""
    none = " No metric says what is best here." if policy.unmonitored else ""
    return [f"Whatever the rules: the newest{best}, and what is pinned, tagged or in use stay.{none}"]


def _settings(policy: Policy) -> list[str]:
    plain = Policy()
    told = []
    if any(monitor.keep is not None for monitor in policy.monitors):
        if policy.missing_metric == "ignore" or not policy.metric_grace:
            told.append("A checkpoint without its metric is not waited for.")
        else:
            told.append(f"A checkpoint without its metric stays for {duration_text(policy.metric_grace)} to get it.")
    if not policy.min_age:
        told.append("Other tools' checkpoints may go as soon as they are written.")
    elif policy.min_age != plain.min_age:
        told.append(f"Other tools' checkpoints stay for {duration_text(policy.min_age)} after they were touched last.")
    if policy.max_share != plain.max_share:
        told.append(f"Up to {policy.max_share * 100:.4g} % of a run may go unasked where a person has to be asked.")
    if policy.include_unknown:
        told.append("What is no known training checkpoint may go too, in a run that this policy names.")
    if not policy.tag_best:
        told.append("The tags best, best-1 and so on do not move.")
    if policy.keep_for:
        told.append(f"What is removed waits in the trash for {duration_text(policy.keep_for)}.")
    else:
        told.append("What is removed is purged from the trash as soon as possible.")
    return told


def _the(n: int, what: str) -> str:
    return f"the {what}" if n == 1 else f"the {n} {what}"


def _direction(monitor: Monitor) -> str:
    return f"{printable(monitor.metric)} ({'lower' if monitor.mode == 'min' else 'higher'} is better)"
