"""Plans as they are now, and what their ids stand for."""

from __future__ import annotations

import threading
from pathlib import Path

from ckpt import retention
from ckpt.encoding import printable, quoted
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.paths import is_inside
from ckpt.records import Record
from ckpt.retention import Merged, Plan
from ckpt.scan import RunView, governed
from ckpt.scan.freeing import measured
from ckptd.catalog.catalog import Catalog
from ckptd.keeping.clock import Clock
from ckptd.keeping.open_files import naming, users_of
from ckptd.looking.scanner import Scanner
from ckptd.policies import Policies
from ckptd.roots.roots import Roots

_ISSUED = 64  # plans that are remembered


class Outdated(OperationError):
    """The world is not the one any more that a plan was made for."""


class Scope(Record, frozen=True, kw_only=True):
    """What a plan is of: one run by its id, the runs in and below a directory, or all that is known."""

    run: str | None = None
    root: str | None = None
    """Absolute, without symbolic links; usually a watched directory, but any directory will do."""
    enforced: bool = False
    """Whether foreign runs are planned as if their root were enforced already."""


class Issued(Record, frozen=True, kw_only=True):
    """A plan that was shown to somebody."""

    scope: Scope
    in_use: frozenset[str] = frozenset()
    """Ids of the checkpoints that were open then. What is opened later is left alone one by one; it unmakes no plan."""


class Planning:
    """Makes plans from the catalog, at the time of a clock and with what is open now. Reads no checkpoint.

    May be used from several threads.
    """

    def __init__(self, catalog: Catalog, roots: Roots, policies: Policies, scanner: Scanner, clock: Clock) -> None:
        self._catalog = catalog
        self._roots = roots
        self._policies = policies
        self._scanner = scanner
        self._clock = clock
        self._lock = threading.Lock()
        self._issued: dict[str, list[Issued]] = {}
        self._applied: dict[str, None] = {}

    def views(self, scope: Scope) -> list[RunView]:
        """The runs of a scope, by path."""
        if scope.run is not None:
            view = self._catalog.get(scope.run)
            return [] if view is None else [view]
        views = self._catalog.all()
        if scope.root is not None:
            views = [view for view in views if is_inside(view.run.path, scope.root)]
        return sorted(views, key=lambda view: view.run.path)

    def present(self, view: RunView, *, enforced: bool = False, in_use: frozenset[str] | None = None) -> RunView:
        """A run planned anew at this moment.

        `enforced` plans a run as if its root were enforced, with the policy that is proposed for it. `in_use` are the
        ids of what is open; None asks the system, for what would be removed.
        """
        if enforced:
            view = self._policies.as_enforced(view)
        situation = view.situation.evolve(in_use=in_use or frozenset())
        merged = Merged(policy=view.plan.policy, origins=view.origins)
        now = self._clock.now()
        planned = governed(view, merged, situation, now)
        if in_use is None and planned.plan.remove:
            users = users_of(decision.checkpoint for decision in planned.plan.remove)
            if users:
                planned = governed(view, merged, situation.evolve(in_use=frozenset(users)), now)
                planned = planned.evolve(plan=naming(planned.plan, users))
        return planned

    def plan(self, scope: Scope, in_use: frozenset[str] | None = None) -> Plan:
        """The plan of a scope. Its id is good for `current`.

        Raises AddressError for a directory in and below which nothing is watched.
        """
        if scope.root is not None and self._roots.holder(scope.root) is None:
            below = [w for w in self._roots.all() if is_inside(w.root.path, scope.root)]
            if not below and not self.views(scope):
                raise AddressError(
                    f"{printable(scope.root)} is not watched", hint=f"watch it: ckpt watch add {quoted(scope.root)}"
                )
        views = [self.present(view, enforced=scope.enforced, in_use=in_use) for view in self.views(scope)]
        plan = measured(retention.combine(view.plan for view in views))
        issued = Issued(scope=scope, in_use=frozenset().union(*(view.situation.in_use for view in views)))
        with self._lock:
            known = [other for other in self._issued.pop(plan.id, []) if other.scope != scope]
            self._issued[plan.id] = [*known, issued]
            while len(self._issued) > _ISSUED:
                del self._issued[next(iter(self._issued))]
        return plan

    def current(self, plan_id: str) -> tuple[Scope, Plan]:
        """The plan with an id, made anew from what lies on disk now.

        Raises Outdated when the world is not the one that it was made for, and UsageError when nobody knows it, both
        with the id of the present plan.
        """
        known = self._issued.get(plan_id)
        if known is None:
            known = self._found(plan_id)
        fresh: Plan | None = None
        for issued in reversed(known):
            for view in self.views(issued.scope):
                self._scanner.read(Path(view.run.path))
            fresh = self.plan(issued.scope, issued.in_use)
            if fresh.id == plan_id:
                return issued.scope, fresh
        shown, hint = printable(plan_id), _newer(fresh or self.plan(Scope()))
        if plan_id in self._applied:
            raise Outdated(f"plan {shown} was carried out already", hint=hint)
        raise Outdated(f"the world changed since plan {shown} was made", hint=hint)

    def was_applied(self, plan_id: str) -> None:
        """Remembers that a plan was carried out, to say so when it is asked for again."""
        self._applied[plan_id] = None
        while len(self._applied) > _ISSUED:
            del self._applied[next(iter(self._applied))]

    def _found(self, plan_id: str) -> list[Issued]:
        """What a plan that an earlier daemon showed was of."""
        views = self._catalog.all()
        scopes = [
            Scope(),
            *(Scope(root=watched.root.path) for watched in self._roots.all()),
            *(Scope(run=view.run.id) for view in views),
            *(Scope(root=watched.root.path, enforced=True) for watched in self._roots.all()),
        ]
        present = {view.run.id: self.present(view) for view in views}
        for scope in scopes:
            mine = [
                self.present(view, enforced=True) if scope.enforced else present[view.run.id]
                for view in self.views(scope)
                if view.run.id in present
            ]
            if retention.combine(view.plan for view in mine).id == plan_id:
                return [Issued(scope=scope, in_use=frozenset().union(*(view.situation.in_use for view in mine)))]
        if plan_id in self._applied:
            raise Outdated(f"plan {printable(plan_id)} was carried out already", hint=_newer(self.plan(Scope())))
        raise UsageError(
            f"there is no plan {printable(plan_id)}: it never was, or the world changed since",
            hint=_newer(self.plan(Scope())),
        )


def plan_id_of(view: RunView) -> str:
    """Id of the plan of one run alone."""
    return retention.combine([view.plan]).id


def _newer(plan: Plan) -> str:
    return f"new plan {plan.id}: look at it with `ckpt plan`, then apply that one"
