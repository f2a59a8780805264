"""One run's plan carried out: each item is looked at again just before its rename into the trash, journal first.

Whoever holds an own run's lock acts on it. Nothing but that rename ever touches a foreign run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpt.encoding import path_fields, printable
from ckpt.exceptions import CkptError, OperationError, UsageError
from ckpt.files import FileLock
from ckpt.paths import PRUNER, RunPaths, StatePaths
from ckpt.protocol import checkpoint_to_json, reason_to_json
from ckpt.records import Checkpoint, Run
from ckpt.retention import Decision
from ckpt.scan import RunView
from ckpt.scan.freeing import Freeing
from ckpt.trash import Trash, TrashEntry
from ckptd.catalog.catalog import Catalog
from ckptd.journal import Journal
from ckptd.keeping import own_pointers, rechecking
from ckptd.keeping.bins import Bin
from ckptd.keeping.clock import Clock
from ckptd.keeping.open_files import user_of
from ckptd.keeping.permission import closed
from ckptd.keeping.planning import Planning
from ckptd.keeping.trashes import Trashes
from ckptd.looking.scanner import Scanner
from ckptd.roots.roots import Roots

log = logging.getLogger("ckptd.keeper")

_NEEDED = frozenset({"held", "linked"})
"""Rules that keep what is needed elsewhere. Somebody may come to need it while a plan is carried out."""
ENDING = "the daemon is ending"
"""Why what a plan removes stays when it is carried out at the end of the daemon."""


@dataclass
class Outcome:
    """What became of a plan."""

    removed: list[TrashEntry] = field(default_factory=list)
    freeing: Freeing = field(default_factory=Freeing)
    """What is free again when the trash is purged."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    """What stays after all, each with the reason."""
    error: CkptError | OSError | None = None
    """The first failure among them, or after them."""

    def leave(self, checkpoint: Checkpoint, reason: str) -> None:
        """Notes that a checkpoint stays."""
        self.skipped.append(
            {"id": checkpoint.id, "run": checkpoint.run, **path_fields(checkpoint.path), "reason": reason}
        )

    def fail(self, error: CkptError | OSError) -> str:
        """Notes a failure; returns why, in words."""
        self.error = self.error or error
        return error.message if isinstance(error, CkptError) else str(error)


class Enforcing:
    """Acts on runs. The caller lets one act at a time."""

    def __init__(
        self,
        catalog: Catalog,
        roots: Roots,
        scanner: Scanner,
        journal: Journal,
        planning: Planning,
        trashes: Trashes,
        clock: Clock,
        state: StatePaths | None,
        is_stopping: Callable[[], bool],
    ) -> None:
        """`state` is where marks of foreign runs are kept."""
        self._catalog = catalog
        self._roots = roots
        self._scanner = scanner
        self._journal = journal
        self._planning = planning
        self._trashes = trashes
        self._clock = clock
        self._state = state
        self._is_stopping = is_stopping

    def enforce(self, view: RunView, plan_id: str, wanted: Mapping[str, Checkpoint], *, confirmed: bool) -> Outcome:
        """Removes of `wanted` (by id) what the run's plan removes now, and brings an own run's pointers up to date.

        `confirmed` is for a plan that a person asked for by its id; without it nothing goes that has to be asked.
        Raises LockedError while somebody trains an own run, UsageError when nothing of the run may go now, and
        OperationError and OSError when it cannot be read or its trash cannot be used: all that before anything was
        done. What fails later is told in the outcome, beside what was done.
        """
        done = Outcome()
        if self._is_stopping():
            for checkpoint in wanted.values():
                done.leave(checkpoint, ENDING)
            return done
        with holding(view.run):
            if view.run.own:
                recover(Trash(RunPaths(Path(view.run.path)).trash), view.run.path)
            stamps = {name: rechecking.stamps_of(checkpoint.files) for name, checkpoint in wanted.items()}
            fresh = self._scanner.read(Path(view.run.path))
            if fresh is None or fresh.run.id != view.run.id:
                raise OperationError("the run cannot be read")
            if wanted:
                self._scanner.trashing.update(wanted)
                try:
                    self._carry_out(done, self._decided(fresh, confirmed), plan_id, wanted, stamps, confirmed)
                    fresh = self._read_again(done, fresh) if done.removed else fresh
                finally:
                    self._scanner.trashing.difference_update(wanted)
            if fresh.run.own:
                try:
                    own_pointers.swap_all(fresh)
                except OSError as error:
                    done.fail(error)
        return done

    def _read_again(self, done: Outcome, fresh: RunView) -> RunView:
        """The run as it is after an act; as it was where it cannot be read."""
        try:
            return self._scanner.read(Path(fresh.run.path)) or fresh
        except (CkptError, OSError) as error:
            done.fail(error)
            return fresh

    def _decided(self, read: RunView, confirmed: bool) -> RunView:
        """A run that was just read, planned at this moment. Raises UsageError when the plan is not carried out."""
        fresh = self._planning.present(read, in_use=frozenset())
        if fresh.plan.refused is not None:
            raise UsageError(f"the plan is refused: {fresh.plan.refused}")
        if fresh.plan.ask is not None and not confirmed:
            raise UsageError(f"the plan has to be confirmed: {fresh.plan.ask}")
        return fresh

    def _carry_out(
        self,
        done: Outcome,
        fresh: RunView,
        plan_id: str,
        wanted: Mapping[str, Checkpoint],
        stamps: Mapping[str, rechecking.Stamps | None],
        confirmed: bool,
    ) -> None:
        decided = {decision.checkpoint.id: decision for decision in fresh.plan.remove}
        target = Bin(fresh, self._trashes)
        # Plans tell the newest first; the oldest goes first, so that it is also purged first.
        for name, checkpoint in reversed(list(wanted.items())):
            decision, seen = decided.get(name), stamps[name]
            try:
                why = ENDING if self._is_stopping() else _kept_now(fresh, name) if decision is None else None
                why = why or self._changed(fresh, checkpoint, seen, target, confirmed)
                if why is None and decision is not None and seen is not None:
                    by = "you" if confirmed else "daemon"
                    freeing = Freeing.of(decision.checkpoint)
                    done.removed.append(self._remove(fresh, decision, seen, target.trash(), plan_id, by))
                    done.freeing.join(freeing)
            except (CkptError, OSError) as error:
                why = done.fail(error)
            if why is not None:
                done.leave(checkpoint, why)

    def _changed(
        self, fresh: RunView, checkpoint: Checkpoint, stamps: rechecking.Stamps | None, target: Bin, confirmed: bool
    ) -> str | None:
        """Why a checkpoint stays after all, by all that can be asked right before its rename. Raises OperationError."""
        why = (
            closed(fresh, self._roots.holder(fresh.run.path))
            or rechecking.changed(target.base, checkpoint, stamps, self._marks_of(fresh.run), fresh.wishes.said)
            or self._governed_anew(fresh, checkpoint.id)
            or target.obstacle(checkpoint)
        )
        if why is not None:
            return why
        try:
            user = user_of(checkpoint)
        except OperationError as error:
            # An own run's lock says that nobody trains; of anybody else's only a person can know.
            return None if fresh.run.own or confirmed else error.message
        return None if user is None else f"in use by {user}"

    def _governed_anew(self, fresh: RunView, checkpoint: str) -> str | None:
        """Why a plan does not hold any more by what is known of its run now: of roots, config.toml, commands, links."""
        known = self._catalog.get(fresh.run.id)
        if known is None:
            return "its run is not known any more"
        if known.plan.policy != fresh.plan.policy:
            return rechecking.POLICY_CHANGED
        verdict = known.verdict(checkpoint)
        needed = [reason.text for reason in verdict.reasons if reason.rule in _NEEDED] if verdict is not None else []
        if needed:
            return "; ".join(needed)
        degraded = known.situation.degraded
        return None if degraded is None else f"its run is not to be believed now: {degraded}"

    def _remove(
        self, view: RunView, decision: Decision, stamps: rechecking.Stamps, trash: Trash, plan_id: str, by: str
    ) -> TrashEntry:
        checkpoint, verdict = decision.checkpoint, decision.verdict
        reasons = [reason_to_json(reason) for reason in verdict.reasons]
        near_misses = [reason_to_json(reason) for reason in verdict.near_misses]
        line = self._journal.record(
            "remove",
            run=view.run.id,
            checkpoint=checkpoint.id,
            plan=plan_id,
            by=by,
            bytes=checkpoint.bytes,
            inode=stamps[checkpoint.path].inode,
            reasons=reasons,
            near_misses=near_misses,
            **path_fields(checkpoint.path),
        )
        try:
            return trash.remove(
                [Path(file) for file in checkpoint.files],
                run=view.run.id,
                checkpoint=checkpoint_to_json(checkpoint, verdict),
                plan=plan_id,
                reasons=reasons,
                near_misses=near_misses,
                keep_for_s=view.plan.policy.keep_for,
                now=self._clock.latest(),
                expected=stamps,
            )
        except CkptError as error:
            with contextlib.suppress(OSError):
                self._journal.record(
                    "stayed", of=line["seq"], run=view.run.id, checkpoint=checkpoint.id, why=error.message
                )
            raise

    def _marks_of(self, run: Run) -> Path | None:
        if run.own:
            return RunPaths(Path(run.path)).marks
        return None if self._state is None else self._state.marks / f"{run.id}.jsonl"


@contextmanager
def holding(run: Run) -> Iterator[None]:
    """Keeps trainings of an own run from starting meanwhile. Into a foreign run no lock is written.

    Raises LockedError while one holds it.
    """
    if not run.own:
        yield
        return
    lock = FileLock(RunPaths(Path(run.path)).lock)
    lock.acquire({"pid": os.getpid(), "host": platform.node(), "program": PRUNER})
    try:
        yield
    finally:
        lock.release()


def recover(trash: Trash, of: str) -> None:
    """Finishes or takes back what a crash left half way in a trash."""
    if trash.directory.is_dir():
        for line in trash.recover():
            log.info("trash of %s: %s", printable(of), line)


def _kept_now(fresh: RunView, checkpoint: str) -> str:
    """Why the plan of this moment does not remove a checkpoint that an earlier one removed."""
    verdict = fresh.verdict(checkpoint)
    if verdict is None:
        return "it changed since it was planned"
    return "; ".join(reason.text for reason in verdict.reasons) or "it is kept now"
