"""Which policy holds for a run, and where it stands: what it wishes itself, its root, and config.toml put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ckpt import retention, scan
from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt.paths import is_inside
from ckpt.retention import Layer, Merged, Situation
from ckpt.retention.quantities import size_text
from ckpt.scan import RunView, Wishes
from ckpt.scan.symlinks import MOST_LINKS
from ckptd.catalog.catalog import Catalog
from ckptd.config.values import Config, Root
from ckptd.keeping.clock import Clock
from ckptd.layering import general_for, layers_for, rules_for
from ckptd.linking import Linking
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched


class Policies:
    """What holds now. May be used from several threads; `config` is replaced as a whole."""

    def __init__(self, roots: Roots, clock: Clock, config: Config | None = None) -> None:
        """`clock` says for when plans are made."""
        self._roots = roots
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self._linking = Linking(roots)
        self.config = Config() if config is None else config

    def govern(self, view: RunView) -> RunView:
        """The run under the policy that holds for it; the same object where nothing changes.

        Reads nothing, raises nothing.
        """
        watched = self._roots.holder(view.run.path)
        config, asked = self.config, self._asked.get(view.run.path)
        if asked is None or not asked.is_of(view, watched, config):
            asked = self._asked[view.run.path] = _Asked.now(view, watched, config)
        return self._governed(view, watched, asked)

    def forget(self, path: str) -> None:
        """There is no run in a directory any more."""
        self._asked.pop(path, None)
        self._linking.forget(path)

    def due(self, views: Iterable[RunView]) -> list[RunView]:
        """Those whose plan the passing of time alone has changed."""
        now = self._clock.now()
        return [view for view in views if view.plan.changes_at is not None and view.plan.changes_at <= now]

    def preview(self, view: RunView, root: Root) -> RunView:
        """The run as it would be planned were this its root, its first plan confirmed."""
        return self.under(view, Watched(root, confirmed=True), self.config)

    def under(self, view: RunView, watched: Watched, config: Config) -> RunView:
        """The run as it would be planned below a root and under a config, its directory being as it is now."""
        there = Watched(watched.root, confirmed=watched.confirmed, **_seen(self._roots.holder(view.run.path)))
        return self._governed(view, there, _Asked.now(view, there, config))

    def as_enforced(self, view: RunView) -> RunView:
        """The run as the first plan of its root shows it: its policy in force, and the plan confirmed."""
        watched = self._roots.holder(view.run.path)
        return view if watched is None else self.preview(view, watched.as_enforced)

    def refresh(self, catalog: Catalog, views: Iterable[RunView]) -> list[tuple[RunView, RunView]]:
        """Governs runs of a catalog anew; returns those that changed, before and after."""
        changed = []
        for view in views:
            while (fresh := self.govern(view)) is not view:
                if catalog.swap(view, fresh):
                    changed.append((view, fresh))
                    break
                known = catalog.get(view.run.id)
                if known is None:
                    break
                view = known
        return changed

    def _governed(self, view: RunView, watched: Watched | None, asked: _Asked) -> RunView:
        merged, now = asked.merged, self._clock.now()
        situation = situation_for(view, watched, asked.config, merged).evolve(linked=self._linking.of(view))
        if asked.unusable is not None:
            situation = situation.evolve(degraded=situation.degraded or asked.unusable)
        if (
            view.plan.policy == merged.policy
            and view.situation == situation
            and view.origins == merged.origins
            and (view.plan.changes_at is None or now < view.plan.changes_at)
        ):
            return view
        return scan.governed(view, merged, situation, now)


class _Asked(NamedTuple):
    """What is asked for of a run, put together. It holds as long as those who ask are the same."""

    wishes: Wishes
    name: str
    below: str
    general: list[Layer]
    config: Config
    merged: Merged
    unusable: str | None
    """Why together it is no policy."""

    @classmethod
    def now(cls, view: RunView, watched: Watched | None, config: Config) -> _Asked:
        """What is asked for of a run that lies in a root."""
        unusable = None
        try:
            merged = retention.merge(layers_for(view, watched, config))
        except CkptError as error:
            # What a person wrote is checked where it is written; together it may still be no policy.
            merged, unusable = Merged(), f"its policies do not go together: {error.message}"
        general = general_for(view, watched, config)
        return cls(view.wishes, view.run.name, view.run.root, general, config, merged, unusable)

    def is_of(self, view: RunView, watched: Watched | None, config: Config) -> bool:
        """Whether those who ask are still the same."""
        return (
            self.wishes is view.wishes
            and self.config is config
            and (self.name, self.below) == (view.run.name, view.run.root)
            and self.general == general_for(view, watched, config)
        )


def situation_for(view: RunView, watched: Watched | None, config: Config, merged: Merged) -> Situation:
    """Where a run stands. `watched` is the root that it lies in, `merged` its policy."""
    own = view.run.own
    return Situation(
        own=own,
        enforced=own or (watched is not None and watched.enforced),
        own_policy=own and merged.only(view.wishes.origin),
        guessed=merged.guessed,
        named=bool(view.wishes.said) or any(rule.names_one for rule in rules_for(view, config)),
        degraded=view.wishes.doubt or _not_believed(view.run.path, watched),
    )


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


def _not_believed(path: str, watched: Watched | None) -> str | None:
    """Why what is seen of a run at a path is not to be believed now; None when it is."""
    if watched is None:
        return None
    if watched.state == "degraded":
        return watched.problem or "its directory is not to be believed now"
    for point in watched.missing:
        if is_inside(path, point):
            return f"the file system at {printable(point)} is not mounted"
    for place in watched.unreadable:
        if is_inside(path, place) or is_inside(place, path):
            return f"{printable(place)} cannot be read"
    if not watched.all_symlinks:
        return (
            f"more than {MOST_LINKS:,} symbolic links lead into its root, and not all were followed: leave out the "
            "directories that they lie in with `exclude`"
        )
    return None


def _seen(watched: Watched | None) -> dict[str, Any]:
    names = ("state", "problem", "missing", "unreadable", "all_symlinks")
    return {} if watched is None else {name: getattr(watched, name) for name in names}
