"""What retention does by itself: which runs it acts on, how much at once, and when it has to ask instead."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import partial

from ckpt.encoding import printable
from ckpt.scan import RunView
from ckptd.catalog.catalog import Catalog
from ckptd.config.values import Limits
from ckptd.keeping import limits, own_pointers
from ckptd.keeping.asks import TOGETHER, Asks
from ckptd.keeping.delaying import Delays
from ckptd.keeping.enforcing import Enforcing
from ckptd.keeping.permission import acts_by_itself
from ckptd.keeping.planning import Planning, Scope, plan_id_of
from ckptd.keeping.retrying import Retries, SomeStay
from ckptd.looking.scanner import Scanner
from ckptd.roots.roots import Roots


class Sweeping:
    """Carries out plans that nobody has to confirm. The caller lets one act at a time."""

    def __init__(
        self,
        catalog: Catalog,
        roots: Roots,
        scanner: Scanner,
        planning: Planning,
        enforcing: Enforcing,
        asks: Asks,
        retries: Retries,
        allowed: Callable[[], Limits],
        delays: Delays,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._catalog = catalog
        self._scanner = scanner
        self._planning = planning
        self._enforcing = enforcing
        self._roots = roots
        self._asks = asks
        self._retries = retries
        self._allowed = allowed
        self._delays = delays
        self._is_stopping = is_stopping
        self._together = ""

    def sweep(self, runs: Iterable[str]) -> None:
        """Enforces the policies of runs by their ids, and brings own pointers up to date. Raises nothing."""
        # What is due by now is seen together with them: the limits are of all that is wanted at once.
        wanted = dict.fromkeys((*runs, *self._scanner.govern_due()))
        chosen = [view for run in wanted if (view := self._catalog.get(run)) is not None]
        chosen = [view for view in chosen if self._concerns(view)]
        if (self._together or any(view.plan.remove for view in chosen)) and self._too_much_together():
            chosen = [view for view in chosen if view.run.own and own_pointers.is_stale(view)]
        for view in chosen:
            if self._is_stopping():
                return
            name = f"retention of {printable(view.run.path)}"
            self._retries.attempt(view.run.id, name, partial(self._act, view))

    def _concerns(self, view: RunView) -> bool:
        """Whether there may be something to do, by what is known."""
        if not self._acts_on(view):
            self._asks.settle(view.run.id)
            return False
        if view.plan.remove:
            return True
        self._asks.settle(view.run.id)
        return view.run.own and own_pointers.is_stale(view)

    def _acts_on(self, view: RunView) -> bool:
        return acts_by_itself(view, self._roots.holder(view.run.path))

    def _act(self, view: RunView) -> None:
        present = self._planning.present(view)
        wanted = {decision.checkpoint.id: decision.checkpoint for decision in present.plan.remove}
        plan = plan_id_of(present)
        why = self._question(present)
        if why is not None:
            self._asks.ask(view.run.id, plan, why)
            wanted = {}
        else:
            self._asks.settle(view.run.id)
        if not wanted and not (view.run.own and own_pointers.is_stale(view)):
            return
        done = self._enforcing.enforce(present, plan, wanted, confirmed=False)
        if done.error is not None:
            raise done.error
        if done.skipped:
            raise SomeStay

    def _question(self, view: RunView) -> str | None:
        """Why a person has to confirm the plan of a run; None when it is carried out unasked."""
        if not view.plan.remove:
            return None
        return view.plan.ask or self._delays.question(view) or limits.above_for_run(view.plan, self._allowed())

    def _wanting(self) -> list[RunView]:
        """All runs that would have something removed unasked now."""
        return [
            view
            for view in self._catalog.all()
            if view.plan.remove
            and self._acts_on(view)
            and self._question(view) is None
            and not self._retries.is_put_off(view.run.id)
        ]

    def _too_much_together(self) -> bool:
        """Whether all runs together want more than may go at once: then a person is asked."""
        wanting = self._wanting()
        why = limits.above_together((view.plan for view in wanting), self._allowed())
        if why is None:
            self.settle()
            return False
        ids = sorted(decision.checkpoint.id for view in wanting for decision in view.plan.remove)
        mark = hashlib.sha256(" ".join(ids).encode()).hexdigest()
        if mark != self._together:
            self._together = mark
            self._asks.ask(TOGETHER, self._planning.plan(Scope()).id, why)
        return True

    def settle(self) -> None:
        """All runs together do not wait any more, until the next sweep finds that they do."""
        self._together = ""
        self._asks.settle(TOGETHER)
