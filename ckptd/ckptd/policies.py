"""Which policy holds for a run, and where it stands: what it wishes itself, its root, and config.toml put together.

For an own run with rules of its own, the weaker first:

    run.json < command < config.toml [[run]]

and for every other run:

    its monitor < config.toml [policy] < its root < command < config.toml [[run]]
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ckpt import retention, scan
from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt.retention import Layer, Merged, Policy, Situation
from ckpt.retention.quantities import size_text
from ckpt.scan import RunView
from ckptd.catalog.catalog import Catalog
from ckptd.config.values import Config, Root, RunRule
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched


class Policies:
    """What holds now. May be used from several threads; `config` is replaced as a whole."""

    def __init__(self, roots: Roots, config: Config | None = None) -> None:
        self._roots = roots
        self.config = Config() if config is None else config

    def govern(self, view: RunView, now: float | None = None) -> RunView:
        """The run under the policy that holds for it; the same object where nothing changes.

        `now` in Unix seconds. Reads nothing, raises nothing.
        """
        return _governed(view, self._roots.holder(view.run.path), self.config, time.time() if now is None else now)

    def preview(self, view: RunView, root: Root) -> RunView:
        """The run as it would be planned were this its root, its first plan confirmed."""
        watched = self._roots.holder(view.run.path)
        return _governed(view, Watched(root, confirmed=True, **_seen(watched)), self.config, time.time())

    def as_enforced(self, view: RunView) -> RunView:
        """The run as the first plan of its root shows it: its policy in force, and the plan confirmed."""
        watched = self._roots.holder(view.run.path)
        return view if watched is None else self.preview(view, watched.as_enforced)

    def refresh(self, catalog: Catalog, below: str | None = None) -> list[tuple[RunView, RunView]]:
        """Governs all runs of a catalog, or those below a root, anew; returns those that changed, before and after."""
        changed = []
        for view in catalog.all():
            if below is not None and view.run.root != below:
                continue
            while (fresh := self.govern(view)) is not view:
                if catalog.swap(view, fresh):
                    changed.append((view, fresh))
                    break
                known = catalog.get(view.run.id)
                if known is None:
                    break
                view = known
        return changed


def layers_for(view: RunView, root: Root | None, config: Config) -> list[Layer]:
    """What is asked for of a run, the weakest first. Raises StateError when its own policy is none."""
    wishes = view.wishes
    rules = [(f"config.toml [[run]] {rule.match}", rule.policy) for rule in rules_for(view, config)]
    if view.run.own and Policy.from_json(wishes.own).has_rules:
        return [("run.json", wishes.own), ("command", wishes.said), *rules]
    above: list[Layer] = [("config.toml [policy]", config.policy)]
    if root is not None:
        above.append(("config.toml [[root]]" if root.origin == "config.toml" else "root", root.policy))
    own = "run.json" if view.run.own else "trainer"
    return [(own, wishes.own), *above, ("command", wishes.said), *rules]


def situation_for(view: RunView, watched: Watched | None, config: Config, merged: Merged) -> Situation:
    """Where a run stands. `watched` is the root that it lies in, `merged` its policy."""
    own = view.run.own
    return Situation(
        own=own,
        enforced=own or (watched is not None and watched.enforced),
        own_policy=own and set(merged.origins.values()) <= {"run.json"},
        named=bool(view.wishes.said) or any(rule.names_one for rule in rules_for(view, config)),
        degraded=view.wishes.doubt or _not_believed(view.run.path, watched),
    )


def rules_for(view: RunView, config: Config) -> Iterator[RunRule]:
    """The rules of config.toml that mean a run, in their order."""
    if not config.runs:
        return
    place = os.path.relpath(view.run.path, view.run.root)
    for rule in config.runs:
        if rule.matches(view.run.name, place):
            yield rule


def more_removed(changed: Iterable[tuple[RunView, RunView]]) -> str | None:
    """What policies would remove now that they would not have before, in words; None for nothing."""
    checkpoints, size, runs = 0, 0, 0
    for before, after in changed:
        known = {decision.checkpoint.id for decision in before.plan.remove}
        new = [d.checkpoint for d in after.plan.remove if d.checkpoint.id not in known]
        checkpoints += len(new)
        size += sum(checkpoint.bytes for checkpoint in new)
        runs += bool(new)
    if not checkpoints:
        return None
    return (
        f"would now remove {checkpoints:,} more checkpoint{'s' * (checkpoints != 1)}, {size_text(size)}, of {runs:,} "
        f"run{'s' * (runs != 1)}: look with `ckpt plan`"
    )


def _governed(view: RunView, watched: Watched | None, config: Config, now: float) -> RunView:
    unusable = None
    try:
        merged = retention.merge(layers_for(view, None if watched is None else watched.root, config))
    except CkptError as error:
        # What a person wrote is checked where it is written; together it may still be no policy.
        merged, unusable = Merged(), f"its policies do not go together: {error.message}"
    situation = situation_for(view, watched, config, merged)
    if unusable is not None:
        situation = situation.evolve(degraded=situation.degraded or unusable)
    if (
        view.plan.policy == merged.policy
        and view.situation == situation
        and view.origins == merged.origins
        and (view.plan.changes_at is None or now < view.plan.changes_at)
    ):
        return view
    return scan.governed(view, merged, situation, now)


def _not_believed(path: str, watched: Watched | None) -> str | None:
    """Why what is seen of a run at a path is not to be believed now; None when it is."""
    if watched is None:
        return None
    if watched.state == "degraded":
        return watched.problem or "its directory is not to be believed now"
    for point in watched.missing:
        if _inside(path, point):
            return f"the file system at {printable(point)} is not mounted"
    for place in watched.unreadable:
        if _inside(path, place) or _inside(place, path):
            return f"{printable(place)} cannot be read"
    return None


def _inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _seen(watched: Watched | None) -> dict[str, Any]:
    names = ("state", "problem", "missing", "unreadable")
    return {} if watched is None else {name: getattr(watched, name) for name in names}
