"""What a policy that nobody has set would do now: read from disk, as if it was enforced."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt.refs import short_names
from ckpt_tui.answers.listing import runs_below
from ckpt_tui.lookup import Lookup, Place, place_of, read_place

if TYPE_CHECKING:
    from ckpt.scan import RunView


def read_targets(target: str) -> list[RunView]:
    """The runs in and below a directory, or the one that a path is of, as they lie on disk. Raises AddressError."""
    below = runs_below(target)
    if below is not None:
        return [read_place(Place(directory)) for directory in below]
    place = place_of(target)
    return [] if place is None else [read_place(place)]


def tried(lookup: Lookup, target: str, policy: Sequence[str]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """The plan that rules such as `keep_last=3` would make of a run or of the runs below a directory, with their names.

    Only the monitor of each run is taken over. Raises StateError for rules that are none, and AddressError.
    """
    from ckpt import retention
    from ckpt.scan import governed
    from ckpt.scan.freeing import measured

    given = retention.parse(policy)
    views = read_targets(target)
    if not views:
        views = [read_place(Place(Path(str(lookup.view(target)["run"]["path"]))))]
    planned = []
    for view in views:
        merged = retention.merge([view.followed, ("--policy", given)])
        situation = view.situation.evolve(enforced=True, own_policy=False, guessed=merged.guessed)
        planned.append(governed(view, merged, situation, time.time()))
    names = short_names([view.run for view in planned])
    return retention.plan_to_json(measured(retention.combine(view.plan for view in planned))), names
