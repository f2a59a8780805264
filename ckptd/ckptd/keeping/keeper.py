"""Retention at work: what plans ask for, done in own runs and below enforced roots, and taken back on request.

    planning.py    plans and their ids            enforcing.py   one run's plan carried out
    rechecking.py  the last look at an item       open_files.py  what some process has open
    permission.py  whether anything may go        confirming.py  the first plan of a root
    sweeping.py    what is done unasked           limits.py      and how much of it
    asks.py        what waits for a word          delaying.py    what a changed config.toml removes later
    retrying.py    when again, after a failure    own_pointers.py  latest.pt and best.pt of own runs
    trashes.py     which trashes there are        bins.py        the one that takes a run's checkpoints
    waits.py       how long things lie in them    purging.py     out of them for good
    restoring.py   out of them and back           clock.py       the time by which things are due

Besides: marking.py and mark_lines.py, what the user says; acts.py and undo.py, what can be taken back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ckpt.encoding import path_fields, printable, quoted
from ckpt.exceptions import AddressError, CkptError, UsageError
from ckpt.paths import StatePaths
from ckpt.retention import Plan
from ckpt.scan.freeing import Freeing
from ckpt.trash import entry_to_json
from ckptd.catalog.catalog import Catalog
from ckptd.config.values import Limits
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.asks import Asks
from ckptd.keeping.clock import Clock
from ckptd.keeping.delaying import Delays
from ckptd.keeping.enforcing import Enforcing, Outcome
from ckptd.keeping.planning import Planning, Scope
from ckptd.keeping.purging import Purging
from ckptd.keeping.restoring import Restoring
from ckptd.keeping.retrying import Retries
from ckptd.keeping.sweeping import Sweeping
from ckptd.keeping.trashes import Shelved, Trashes
from ckptd.keeping.waits import Waits
from ckptd.looking.scanner import Scanner
from ckptd.policies import Policies
from ckptd.roots.roots import Roots


class Keeper:
    """Plans, removals, restores and purges. Methods block and may be called from any thread; one acts at a time."""

    def __init__(
        self,
        catalog: Catalog,
        roots: Roots,
        policies: Policies,
        scanner: Scanner,
        events: Events,
        journal: Journal,
        state: StatePaths | None,
        clock: Clock,
        limits: Callable[[], Limits] = Limits,
    ) -> None:
        """`state` is where marks of foreign runs are kept, `clock` that of the plans; `limits` gives those of now."""
        self._catalog = catalog
        self._roots = roots
        self._lock = threading.RLock()
        self._stopping = False
        retries = Retries(scanner.failed)
        self._clock = clock
        self._trashes = Trashes(catalog, roots)
        self.delays = Delays(None if state is None else state.delays)
        """The runs whose plans wait because config.toml was changed."""
        self._planning = Planning(catalog, roots, policies, scanner, clock)
        self._asks = Asks(events, lambda run: catalog.get(run) is not None)
        self._enforcing = Enforcing(
            catalog, roots, scanner, journal, self._planning, self._trashes, clock, state, self._is_stopping
        )
        self._sweeping = Sweeping(
            catalog,
            roots,
            scanner,
            self._planning,
            self._enforcing,
            self._asks,
            retries,
            limits,
            self.delays,
            self._is_stopping,
        )
        self._waits = Waits(None if state is None else state.waits)
        self._purging = Purging(catalog, self._trashes, events, journal, retries, self._waits, self._is_stopping)
        self._restoring = Restoring(scanner, events, journal, state)

    def stop(self) -> None:
        """Starts no further act; one that runs is finished first."""
        self._stopping = True
        with self._lock:
            self._waits.close()

    def _is_stopping(self) -> bool:
        return self._stopping

    @property
    def alone(self) -> threading.RLock:
        """Held, in a `with`, by what looks first and then acts; nothing else acts meanwhile."""
        return self._lock

    # Plans

    def plan(self, run: str | None = None, *, root: str | None = None, what_if_enforced: bool = False) -> Plan:
        """The plan for one run by its id, for the runs below a root by its path, or for all; with an id for `apply`.

        `what_if_enforced` plans foreign runs as if their root were enforced: the first plan that a person is shown.
        """
        return self._planning.plan(Scope(run=run, root=root, enforced=what_if_enforced))

    def find(self, plan_id: str) -> Plan:
        """The plan with an id, whatever it is of, as `apply` would carry it out. Raises UsageError as that does."""
        return self._planning.current(plan_id)[1]

    def check(self, plan_id: str, root: str) -> Plan:
        """The plan of a root's runs, as it would be enforced, by its id.

        Raises Outdated when the world is another by now, and UsageError when it is a plan of something else, both with
        the id of the present one.
        """
        with self._lock:
            scope, plan = self._planning.current(plan_id)
            if not scope.enforced or scope.root != root:
                first = self.plan(root=root, what_if_enforced=True)
                if first.id != plan_id:
                    raise UsageError(
                        f"plan {printable(plan_id)} is not the first plan of {printable(root)}",
                        hint=f"that is {first.id}: `ckpt plan {printable(root)}` shows it",
                    )
                return first
            return plan

    def confirm(self, plan_id: str, root: str, enforce: Callable[[Plan], object]) -> dict[str, Any]:
        """Carries the first plan of a root out; `enforce` makes the root enforced once the plan is the present one.

        Returns what `apply` does. Raises Outdated, with the id of the present plan, when the world is another by now;
        then nothing was done.
        """
        with self._lock:
            enforce(self.check(plan_id, root))
            return self.apply(plan_id)

    def apply(self, plan_id: str) -> dict[str, Any]:
        """Carries a plan out, if the world is still the one it was made for.

        Returns {"plan", "removed", "skipped", "freed_now", "freed_at_purge", "may_go_early"}; the last says that a disk
        is nearly full, so that the trash may be purged before its time. Raises Outdated when the world is another, and
        UsageError when nobody knows the plan.
        """
        with self._lock:
            scope, plan = self._planning.current(plan_id)
            if scope.enforced:
                self._refuse_unless_enforced(plan)
            self._planning.was_applied(plan_id)
            removed: list[dict[str, Any]] = []
            left: list[dict[str, Any]] = []
            freeing = Freeing()
            for run_plan in plan.runs:
                view = self._catalog.get(run_plan.run)
                wanted = {d.checkpoint.id: d.checkpoint for d in run_plan.remove}
                if view is None or not wanted:
                    continue
                try:
                    done = self._enforcing.enforce(view, plan_id, wanted, confirmed=True)
                except (CkptError, OSError) as error:
                    done = Outcome()
                    text = done.fail(error)
                    for checkpoint in wanted.values():
                        done.leave(checkpoint, text)
                removed += [entry_to_json(entry) for entry in done.removed]
                left += done.skipped
                freeing.join(done.freeing)
                self._asks.settle(run_plan.run)
                self.delays.end(run_plan.run)
            self._sweeping.settle()
            return {
                "plan": plan_id,
                "removed": removed,
                "skipped": left,
                "freed_now": 0,
                "freed_at_purge": freeing.bytes,
                "may_go_early": bool(removed) and self._purging.is_short(part.run for part in plan.runs),
            }

    def asks(self) -> list[dict[str, Any]]:
        """The plans that wait for a person's word: {"run": id or None for all together, "plan", "text", "at"}."""
        return self._asks.all()

    def _refuse_unless_enforced(self, plan: Plan) -> None:
        """Raises UsageError for a plan that only says what would be, were its roots enforced."""
        for part in plan.runs:
            view = self._catalog.get(part.run) if part.remove else None
            if view is None or view.run.own:
                continue
            watched = self._roots.holder(view.run.path)
            if watched is None or not watched.enforced:
                where = quoted(view.run.root if watched is None else watched.root.path)
                raise UsageError(
                    "this plan only shows what would be removed: its root is not enforced",
                    hint=f"enforce it: ckpt watch add {where} --enforce",
                )

    # By itself

    def sweep(self, runs: Iterable[str]) -> None:
        """Enforces the policies of runs by their ids where nobody has to be asked. Raises nothing."""
        with self._lock:
            self._sweeping.sweep(runs)

    def purge_due(self) -> None:
        """Purges what has waited long enough in all trashes, and makes room on full disks. Raises nothing."""
        with self._lock:
            self._purging.due()

    def make_room(self) -> None:
        """Purges before its time what has to go so that no disk fills. Raises nothing."""
        with self._lock:
            self._purging.make_room()

    # The trash

    def entries(self, run: str | None = None) -> list[Shelved]:
        """What lies in all trashes, or what was of one run, by its id; newest first."""
        return self._trashes.entries(run)

    def trash_of_root(self, path: str) -> dict[str, Any]:
        """What of others lies in the trash of a root: {"entries", "bytes", "path"}; `path` is None without a trash."""
        watched = next((watched for watched in self._roots.all() if watched.root.path == path), None)
        shelves = [] if watched is None else list(self._trashes.of_root(watched))
        entries = [entry for shelf in shelves for entry in shelf.trash.entries()]
        where = path_fields(shelves[0].name) if shelves else {"path": None}
        return {"entries": len(entries), "bytes": sum(entry.bytes for entry in entries), **where}

    def restore(self, ids: Sequence[str]) -> dict[str, Any]:
        """Brings removed checkpoints back to where they were, each pinned so that it stays. All ids must exist.

        Returns {"restored": [{"id", "entry", "path"}], "left": [{"entry", "path", "reason"}]}: one whose place is
        taken keeps no other from coming back. Raises AddressError for an unknown id.
        """
        with self._lock:
            return self.restore_entries(self._chosen(ids))

    def restore_entries(self, chosen: Sequence[Shelved]) -> dict[str, Any]:
        """`restore` for entries that were found already."""
        restored: list[dict[str, Any]] = []
        left: list[dict[str, Any]] = []
        with self._lock:
            for item in chosen:
                try:
                    restored.append(self._restoring.restore(item))
                except (CkptError, OSError) as error:
                    reason = error.message if isinstance(error, CkptError) else str(error)
                    left.append({"entry": item.entry.id, **path_fields(item.entry.path), "reason": reason})
        return {"restored": restored, "left": left}

    def purge(self, ids: Sequence[str]) -> tuple[list[str], int]:
        """Deletes removed checkpoints for good; returns the ids of those that are gone, and the bytes freed.

        What some process has open stays. Raises AddressError.
        """
        with self._lock:
            gone: list[str] = []
            freed = 0
            for item in self._chosen(ids):
                entries, size = self._purging.purge(item.shelf, [item.entry])
                gone += [entry.id for entry in entries]
                freed += size
            return gone, freed

    def _chosen(self, ids: Sequence[str]) -> list[Shelved]:
        known = self.entries()
        chosen: dict[str, Shelved] = {}
        for wanted in ids:
            fitting = [
                item
                for item in known
                if wanted
                and (item.entry.id.startswith(wanted) or str(item.entry.checkpoint.get("id", "")).startswith(wanted))
            ]
            exact = [item for item in fitting if wanted in (item.entry.id, item.entry.checkpoint.get("id"))]
            fitting = exact or fitting
            if len({(item.shelf.name, item.entry.id) for item in fitting}) != 1:
                raise AddressError(
                    f"'{printable(wanted)}' names {len(fitting) or 'nothing'} in the trash",
                    hint="`ckpt trash ls` shows what is there",
                    candidates=[item.entry.id for item in fitting or known][:50],
                )
            chosen[f"{fitting[0].shelf.name} {fitting[0].entry.id}"] = fitting[0]
        return list(chosen.values())
