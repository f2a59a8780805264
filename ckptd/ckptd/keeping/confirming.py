"""How a root comes to be enforced: whether it can be, the policy for its first plan, and the word of a person."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any

from ckpt import retention
from ckpt.encoding import printable
from ckpt.exceptions import OperationError, UsageError
from ckpt.retention import Layer, Plan
from ckpt.trash import placing
from ckpt.trash.owning import TAKE_OVER, Owner, owner_id
from ckptd.catalog.catalog import Catalog
from ckptd.keeping.bins import take
from ckptd.keeping.keeper import Keeper
from ckptd.looking.scanner import Scanner
from ckptd.policies import Policies
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched


class Confirming:
    """Observed roots become enforced ones."""

    def __init__(self, catalog: Catalog, roots: Roots, policies: Policies, scanner: Scanner, keeper: Keeper) -> None:
        self._catalog = catalog
        self._roots = roots
        self._policies = policies
        self._scanner = scanner
        self._keeper = keeper

    def propose(self, path: str, given: Mapping[str, Any] | None, *, take_over: bool) -> Watched:
        """Takes the policy that a root would have, so that its first plan can be made. Nothing is enforced by it.

        `given` None stands for the policy that it has. Raises UsageError, StateError, AddressError or OperationError
        where the root cannot be enforced, and where no rule says what to keep in it; then what was proposed before
        still is.
        """
        with self._keeper.alone:
            watched = self._roots.known(path)
            before = watched.proposed
            try:
                self._roots.propose(path, given)
                self._check_state(watched)
                self._check_rules(watched)
                self._check_place(watched.root.path, take_over=take_over)
            except BaseException:
                watched.proposed = before
                raise
            return watched

    def confirm(
        self, path: str, plan_id: str, given: Mapping[str, Any] | None = None, *, take_over: bool
    ) -> dict[str, Any]:
        """Enforces a root and carries its first plan out, which somebody has seen. Returns what `apply` does.

        `given` is the policy that the plan was shown with; None stands for the one that was proposed last. Raises
        Outdated, with the id of the present plan, when the world changed since. Whatever it raises, the root has
        the mode and the policy that it had before.
        """
        with self._keeper.alone:
            if given is not None:
                self.propose(path, given, take_over=take_over)
            watched = self._roots.known(path)
            root, policy = watched.root.path, watched.as_enforced.policy
            self._check_state(watched)
            self._check_place(root, take_over=take_over)
            before, was_confirmed, proposed = watched.root, watched.confirmed, watched.proposed

            def enforce(plan: Plan) -> None:
                for place in placing.possible(root) if take_over else ():
                    if place.owner.exists():
                        Owner(place.owner).claim(owner_id(), time.time(), take_over=True)
                if self._takes_of_others(plan):
                    # On a disk without a free byte nothing can be removed, and the root is not enforced then.
                    take(self._place(root))
                self._roots.enforce(root, policy)
                self._scanner.govern(root)

            try:
                return self._keeper.confirm(plan_id, root, enforce)
            except BaseException:
                # What was confirmed is not what would be done from now on.
                self._roots.take_back(root, before, confirmed=was_confirmed)
                watched.proposed = proposed
                if not (before.mode == "enforce" and was_confirmed):
                    self.give_up(root)
                self._scanner.govern(root)
                raise

    def _takes_of_others(self, plan: Plan) -> bool:
        """Whether a plan removes anything of a foreign run."""
        runs = (self._catalog.get(part.run) for part in plan.runs if part.remove)
        return any(view is not None and not view.run.own for view in runs)

    def give_up(self, root: str) -> None:
        """Lets somebody else enforce a root that this daemon does not any more. What lies in its trash stays."""
        for place in placing.possible(root):
            with contextlib.suppress(OperationError):
                Owner(place.owner).release(owner_id())

    def _check_state(self, watched: Watched) -> None:
        if watched.state == "degraded":
            raise UsageError(
                f"{printable(watched.root.path)} is not to be believed now: {watched.problem}",
                hint="what is removed is decided by what lies there; bring it back first",
            )

    def _check_rules(self, watched: Watched) -> None:
        """Raises UsageError where nothing at all would ever be removed, because no rule says what to keep."""
        root = watched.as_enforced
        layers: list[Layer] = [("config.toml [policy]", self._policies.config.policy), ("root", root.policy)]
        if retention.merge(layers).policy.has_rules:
            return
        views = [view for view in self._catalog.all() if view.run.root == root.path and not view.run.own]
        if any(self._policies.preview(view, root).plan.policy.has_rules for view in views):
            return
        said = "`policy = {keep_last = 3}` in its [[root]]" if root.origin == "config.toml" else "--policy"
        raise UsageError(
            f"no rule says what to keep below {printable(root.path)}, so nothing would ever be removed",
            hint=f"say it with {said}, such as --policy 'keep_last=3 keep_best=1', --policy 'keep_every_n_epochs=10', "
            "or --policy max_bytes=500GB",
        )

    def _check_place(self, root: str, *, take_over: bool) -> None:
        """Raises OperationError where a root can have no trash, and where somebody else owns it."""
        place = self._place(root)
        why = placing.obstacle(place, os.path.join(root, "any"))
        if why is not None:
            raise OperationError(
                f"what is removed below {printable(root)} cannot be kept: {why}",
                hint=f"the trash would be {printable(place.directory)}; removed checkpoints are never deleted at once",
            )
        other = None if take_over else place.taken(owner_id())
        if other is not None:
            raise OperationError(f"{printable(root)} is enforced already by {other.shown}", hint=TAKE_OVER)

    def _place(self, root: str) -> placing.Place:
        files = (file for view in self._catalog.all() for c in view.checkpoints for file in (c.path, *c.files))
        return placing.where(root, files)
