"""Who asks what of a run: its own wishes, general places that speak of many runs, and places that name it. Pure.

For an own run with rules of its own, the weaker first:

    run.json < command < config.toml [[run]]

and for every other run:

    a guess of its monitor < its monitor < config.toml [policy] < its root < command < config.toml [[run]]

The general places, [policy] and the root, have no say in own runs where nothing is enforced, and their monitor none in
a run that records only the one its trainer goes by.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt.encoding import printable
from ckpt.retention import Layer, Policy
from ckpt.scan import RunView
from ckptd.config.values import Config, RunRule
from ckptd.roots.watched import Watched

Given = Mapping[str, Any]


def layers_for(view: RunView, watched: Watched | None, config: Config) -> list[Layer]:
    """What is asked for of a run, the weakest first; `watched` is the root that it lies in.

    Raises StateError when its own policy is none.
    """
    wishes = view.wishes
    named: list[Layer] = [(f"config.toml [[run]] {rule.match}", rule.policy) for rule in rules_for(view, config)]
    if _asks_itself(view):
        return [("run.json", wishes.own), ("command", wishes.said), *named]
    return [*wishes.weakest, *general_for(view, watched, config), ("command", wishes.said), *named]


def general_for(view: RunView, watched: Watched | None, config: Config) -> list[Layer]:
    """What of it the places ask that speak of many runs at once."""
    if view.run.own and not _enforced(watched):
        return []
    return [
        (origin, _without_monitor(given) if _passed_over(view, given) else given)
        for origin, given in _general(watched, config)
    ]


def unheard(view: RunView, watched: Watched | None, config: Config) -> list[str]:
    """What general places say that does not hold for a run, and why; a sentence each. Raises as `layers_for`."""
    if _asks_itself(view):
        return []
    general = [(origin, given) for origin, given in _general(watched, config) if given]
    if view.run.own and not _enforced(watched):
        where = "it lies in no watched directory" if watched is None else "its directory is only observed"
        return [f"{origin} does not hold for it: {where}" for origin, _ in general]
    return [
        f"{origin} names {printable(given['monitor'])}, which no checkpoint of it has recorded: "
        f"{printable(view.wishes.own['monitor'])} holds, by which its trainer goes"
        for origin, given in general
        if _passed_over(view, given)
    ]


def rules_for(view: RunView, config: Config) -> Iterator[RunRule]:
    """The rules of config.toml that mean a run, in their order."""
    if not config.runs:
        return
    place = os.path.relpath(view.run.path, view.run.root)
    for rule in config.runs:
        if rule.matches(view.run.name, place):
            yield rule


def _asks_itself(view: RunView) -> bool:
    return view.run.own and Policy.from_json(view.wishes.own).has_rules


def _enforced(watched: Watched | None) -> bool:
    return watched is not None and watched.enforced


def _general(watched: Watched | None, config: Config) -> Iterator[tuple[str, Given]]:
    yield "config.toml [policy]", config.policy
    if watched is not None:
        yield "config.toml [[root]]" if watched.root.origin == "config.toml" else "root", watched.root.policy


def _passed_over(view: RunView, given: Given) -> bool:
    """Whether a general place names a monitor that the run never recorded, while that of its trainer is recorded."""
    named, own = given.get("monitor"), view.wishes.own.get("monitor")
    if not named or not own or named == own:
        return False
    return not _recorded(view, named) and _recorded(view, own)


def _recorded(view: RunView, metric: str) -> bool:
    return any(metric in checkpoint.metrics for checkpoint in view.checkpoints)


def _without_monitor(given: Given) -> Given:
    return {name: value for name, value in given.items() if name not in ("monitor", "mode")}
