"""What taking another config changes: told beforehand, and done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckpt.encoding import printable
from ckpt.paths import is_inside
from ckpt.retention.writing import time_text
from ckptd.config.effects import effects, root_effects
from ckptd.config.values import Config
from ckptd.keeping.delaying import Change
from ckptd.layering import rules_for
from ckptd.parts import Parts
from ckptd.policies import more_removed


class Reload(NamedTuple):
    """What a reload changes, in sentences."""

    changed: list[str]
    warnings: list[str]
    """What of the config means nothing that is known now."""
    problems: list[str]
    """What had to be left out; known once it is done."""


def foretell(parts: Parts, new: Config) -> Reload:
    """What `take` would change; nothing does."""
    old = parts.policies.config
    before = [watched.root for watched in parts.roots.all()]
    after = parts.roots.resulting(new.roots, everywhere=new.exclude)
    changes: list[Change] = []
    for view in parts.catalog.all():
        watched = next((one for one in after if is_inside(view.run.path, one.root.path)), None)
        if watched is not None:
            changes.append((view, parts.policies.under(view, watched, new)))
    told = [*effects(old, new), *root_effects(before, [one.root for one in after]), *_more(changes, new)]
    return Reload(told, list(_without_a_run(parts, new)), [])


def take(parts: Parts, new: Config, session: Sequence[str]) -> Reload:
    """Has everything go by another config. What it removes beyond the old one waits.

    `session` are the roots of the daemon's command line.
    """
    old = parts.policies.config
    before, roots = parts.catalog.all(), [watched.root for watched in parts.roots.all()]
    with parts.keeper.alone:
        problems = parts.configure(new, session)
        changes = [(view, parts.catalog.get(view.run.id) or view) for view in before]
        parts.keeper.delays.begin(changes, new.limits.reload_delay)
    after = [watched.root for watched in parts.roots.all()]
    told = [*effects(old, new), *root_effects(roots, after), *_more(changes, new)]
    return Reload(told, list(_without_a_run(parts, new)), problems)


def _more(changes: Sequence[Change], new: Config) -> Iterator[str]:
    more = more_removed(changes)
    if more is not None:
        delay = new.limits.reload_delay
        yield f"{more}; nothing of that goes by itself for {time_text(delay)}" if delay else more


def _without_a_run(parts: Parts, config: Config) -> Iterator[str]:
    meant = {rule.match for view in parts.catalog.all() for rule in rules_for(view, config)}
    for number, rule in enumerate(config.runs, 1):
        if rule.match not in meant:
            yield f"run {number}: no run that is known now matches '{printable(rule.match)}'"
