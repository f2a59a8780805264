"""Retention at work: what plans ask for, done to own runs that nobody trains, and taken back on request.

Whoever holds a run's lock acts on it. Each item is looked at again just before its rename into the trash; one that is
not what the plan saw stays.
"""

from __future__ import annotations

import logging
import os
import platform
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ckpt import marks, pointers, retention
from ckpt.encoding import path_fields, printable
from ckpt.exceptions import AddressError, CkptError, LockedError, OperationError, UsageError
from ckpt.files import FileLock
from ckpt.paths import PRUNER, RunPaths
from ckpt.records import Checkpoint, Run
from ckpt.retention import Decision, Plan
from ckpt.scan import RunView
from ckpt.trash import Trash, TrashEntry, entry_to_json
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.clock import Clock
from ckptd.looking.scanner import Scanner

log = logging.getLogger("ckptd.keeper")
_RETRY_S = 60.0  # after a failure on a run, doubled each time
_RETRY_MAX_S = 3600.0
_LOCKED_S = 5.0  # after another process held the lock, or something had to stay
_ISSUED = 64  # plans whose scope is remembered

_Stamp = tuple[int, int, int, int]  # device, inode, size, mtime in ns


class Keeper:
    """Plans, removals, restores and purges. Methods block and may be called from any thread; one acts at a time."""

    def __init__(self, catalog: Catalog, scanner: Scanner, events: Events, journal: Journal) -> None:
        self._catalog = catalog
        self._scanner = scanner
        self._events = events
        self._journal = journal
        self._lock = threading.RLock()
        self._issued: dict[str, tuple[str, ...] | None] = {}
        self._later: dict[str, tuple[float, float]] = {}
        self._stopping = False
        self._clock = Clock()

    def stop(self) -> None:
        """Starts no further act; one that runs is finished first."""
        self._stopping = True
        with self._lock:
            pass

    # Plans

    def plan(self, run: str | None = None) -> Plan:
        """The plan for one run, by id, or for all. Its id is good for `apply`."""
        views = self._views(None if run is None else (run,))
        plan = retention.combine(view.plan for view in views)
        self._issued[plan.id] = None if run is None else (run,)
        while len(self._issued) > _ISSUED:
            del self._issued[next(iter(self._issued))]
        return plan

    def apply(self, plan_id: str) -> dict[str, Any]:
        """Carries a plan out, if the world is still the one it was made for.

        Raises UsageError when it is not, or nobody knows the plan.
        """
        with self._lock:
            scope = self._scope_of(plan_id)
            for view in self._views(scope):
                self._scanner.read(Path(view.run.path))
            plan = self.plan(None if scope is None else scope[0])
            if plan.id != plan_id:
                raise UsageError(
                    f"the world changed since plan {printable(plan_id)} was made",
                    hint=f"new plan {plan.id}: look at it with `ckpt plan`, then apply that one",
                )
            removed: list[dict[str, Any]] = []
            skipped: list[dict[str, Any]] = []
            for run_plan in plan.runs:
                planned = self._catalog.get(run_plan.run)
                if planned is None or not run_plan.remove:
                    continue
                try:
                    entries, left = self._enforce(planned, plan_id, frozenset(d.checkpoint.id for d in run_plan.remove))
                except (CkptError, OSError) as error:
                    text = error.message if isinstance(error, CkptError) else str(error)
                    skipped += [_skip(d.checkpoint, text) for d in run_plan.remove]
                    continue
                removed += [entry_to_json(entry) for entry in entries]
                skipped += left
            return {"plan": plan_id, "removed": removed, "skipped": skipped}

    # By itself

    def sweep(self, runs: Iterable[str]) -> None:
        """Enforces the policies of own runs by their ids, and brings their pointers up to date. Raises nothing."""
        for run in runs:
            if self._stopping:
                return
            view = self._catalog.get(run)
            if view is None or not view.run.own or view.run.status in ("training", "stalled"):
                continue
            if not view.plan.remove and not _stale_pointers(view):
                continue
            self._attempt(view, partial(self._enforce_by_itself, view))

    def purge_due(self, now: float | None = None) -> None:
        """Purges what has waited long enough in the trashes of own runs. Raises nothing."""
        now = self._clock.now() if now is None else now
        for view in self._catalog.all():
            if self._stopping:
                return
            paths = RunPaths(Path(view.run.path))
            if not view.run.own or not os.path.isdir(paths.trash):
                continue
            try:
                due = Trash(paths.trash).due(now)
            except (CkptError, OSError) as error:
                self._scanner.failed(f"the trash of {printable(view.run.path)}", error)
                continue
            if due:
                self._attempt(view, partial(self._purge, view.run, due))

    def _attempt(self, view: RunView, act: Callable[[], Any]) -> None:
        """Does something to a run unless it failed lately: every attempt touches the lock file, which is an event."""
        not_before, pause = self._later.get(view.run.id, (0.0, _RETRY_S))
        if time.monotonic() < not_before:
            return
        try:
            with self._lock:
                act()
        except (LockedError, _SomeStay):
            self._later[view.run.id] = (time.monotonic() + _LOCKED_S, _RETRY_S)
        except Exception as error:  # noqa: BLE001  what goes wrong with one run must not end the daemon
            self._later[view.run.id] = (time.monotonic() + pause, min(2 * pause, _RETRY_MAX_S))
            self._scanner.failed(f"retention of {printable(view.run.path)}", error)
        else:
            self._later.pop(view.run.id, None)

    def _enforce_by_itself(self, view: RunView) -> None:
        _, left = self._enforce(view, view_plan_id(view), None)
        if left:
            raise _SomeStay

    def _enforce(
        self, view: RunView, plan_id: str, only: frozenset[str] | None
    ) -> tuple[list[TrashEntry], list[dict[str, Any]]]:
        """Removes what the run's plan removes now (of `only`, when given); returns entries and what was left."""
        if not view.run.own:
            raise UsageError("a foreign run is only observed")
        paths = RunPaths(Path(view.run.path))
        entries: list[TrashEntry] = []
        left: list[dict[str, Any]] = []
        with self._holding(paths):
            trash = Trash(paths.trash)
            if paths.trash.is_dir():
                for line in trash.recover():
                    log.info("trash of %s: %s", printable(view.run.path), line)
            stamps = {c.id: _stamps(c.files) for c in view.checkpoints}
            fresh = self._scanner.read(paths.directory)
            if fresh is None:
                raise OperationError("the run cannot be read")
            if fresh.plan.refused:
                raise UsageError(f"the plan is refused: {fresh.plan.refused}")
            for decision in fresh.plan.remove:
                if self._stopping:
                    break
                checkpoint = decision.checkpoint
                if only is not None and checkpoint.id not in only:
                    continue
                changed = _changed(fresh.run, checkpoint, stamps.get(checkpoint.id))
                if changed is not None:
                    left.append(_skip(checkpoint, changed))
                    continue
                entries.append(self._remove(trash, fresh, decision, plan_id))
            if entries:
                fresh = self._scanner.read(paths.directory) or fresh
            _swap_pointers(fresh)
        return entries, left

    def _remove(self, trash: Trash, view: RunView, decision: Decision, plan_id: str) -> TrashEntry:
        from ckpt.protocol import checkpoint_to_json, reason_to_json

        checkpoint = decision.checkpoint
        self._journal.record(
            "remove",
            run=view.run.id,
            checkpoint=checkpoint.id,
            plan=plan_id,
            bytes=checkpoint.bytes,
            near_misses=[reason_to_json(reason) for reason in decision.verdict.near_misses],
            **path_fields(checkpoint.path),
        )
        return trash.remove(
            [Path(file) for file in checkpoint.files],
            run=view.run.id,
            checkpoint=checkpoint_to_json(checkpoint, decision.verdict),
            plan=plan_id,
            reasons=[reason_to_json(reason) for reason in decision.verdict.reasons],
            near_misses=[reason_to_json(reason) for reason in decision.verdict.near_misses],
            keep_for_s=view.plan.policy.keep_for,
            now=self._clock.latest(),
        )

    # The trash

    def entries(self, run: str | None = None) -> list[tuple[Run, TrashEntry]]:
        """What lies in the trashes of own runs, newest first."""
        found: list[tuple[Run, TrashEntry]] = []
        for view in self._views(None if run is None else (run,)):
            paths = RunPaths(Path(view.run.path))
            if view.run.own and os.path.isdir(paths.trash):
                found += [(view.run, entry) for entry in Trash(paths.trash).entries()]
        return sorted(found, key=lambda item: item[1].trashed_at, reverse=True)

    def restore(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Brings removed checkpoints back to where they were, each pinned so that it stays. All ids must exist.

        Raises AddressError for an unknown id, and OperationError when a place is taken.
        """
        with self._lock:
            return self.restore_entries(self._chosen(ids))

    def restore_entries(self, chosen: Sequence[tuple[Run, TrashEntry]]) -> list[dict[str, Any]]:
        """`restore` for entries that were found already."""
        with self._lock:
            return [self._restore(run, entry) for run, entry in chosen]

    def purge(self, ids: Sequence[str]) -> tuple[list[str], int]:
        """Deletes removed checkpoints for good; returns their ids and the bytes freed. Raises AddressError."""
        with self._lock:
            freed = 0
            chosen = self._chosen(ids)
            for run, entry in chosen:
                freed += self._purge(run, [entry])
            return [entry.id for _, entry in chosen], freed

    def _restore(self, run: Run, entry: TrashEntry) -> dict[str, Any]:
        paths = RunPaths(Path(run.path))
        checkpoint = str(entry.checkpoint.get("id"))
        self._journal.record("restore", run=run.id, checkpoint=checkpoint, entry=entry.id, plan=entry.plan)
        # Pinned first: a training that prunes between the two must find the pin.
        marks.append(paths.marks, "pin", checkpoint, file=os.path.basename(entry.path), why="restored")
        back = Trash(paths.trash).restore(entry.id)
        self._scanner.read(paths.directory)
        self._events.emit("checkpoint.restored", run.id, checkpoint, path=printable(entry.path))
        return {"id": checkpoint, "entry": entry.id, **path_fields(str(back[0] if back else entry.path))}

    def _purge(self, run: Run, entries: Sequence[TrashEntry]) -> int:
        paths = RunPaths(Path(run.path))
        freed = 0
        with self._holding(paths):
            trash = Trash(paths.trash)
            trash.recover()
            for entry in entries:
                checkpoint = str(entry.checkpoint.get("id"))
                self._journal.record("purge", run=run.id, checkpoint=checkpoint, entry=entry.id, bytes=entry.bytes)
                freed += trash.purge(entry.id)
                self._events.emit("checkpoint.purged", run.id, checkpoint, path=printable(entry.path))
        return freed

    def _chosen(self, ids: Sequence[str]) -> list[tuple[Run, TrashEntry]]:
        known = self.entries()
        chosen: dict[str, tuple[Run, TrashEntry]] = {}
        for wanted in ids:
            fitting = [
                (run, entry)
                for run, entry in known
                if wanted and (entry.id.startswith(wanted) or str(entry.checkpoint.get("id", "")).startswith(wanted))
            ]
            exact = [item for item in fitting if wanted in (item[1].id, item[1].checkpoint.get("id"))]
            fitting = exact or fitting
            if len({(run.id, entry.id) for run, entry in fitting}) != 1:
                raise AddressError(
                    f"'{printable(wanted)}' names {len(fitting) or 'nothing'} in the trash",
                    hint="`ckpt trash ls` shows what is there",
                    candidates=[entry.id for _, entry in fitting or known][:50],
                )
            run, entry = fitting[0]
            chosen[f"{run.id} {entry.id}"] = (run, entry)
        return list(chosen.values())

    def _views(self, scope: tuple[str, ...] | None) -> list[RunView]:
        views = self._catalog.all() if scope is None else [v for run in scope if (v := self._catalog.get(run))]
        return sorted(views, key=lambda view: view.run.path)

    def _scope_of(self, plan_id: str) -> tuple[str, ...] | None:
        if plan_id in self._issued:
            return self._issued[plan_id]
        views = self._catalog.all()
        if retention.combine(view.plan for view in views).id == plan_id:
            return None
        for view in views:
            if view_plan_id(view) == plan_id:
                return (view.run.id,)
        now = self.plan()
        raise UsageError(
            f"there is no plan {printable(plan_id)}: it never was, or the world changed since",
            hint=f"new plan {now.id}: look at it with `ckpt plan`",
        )

    @contextmanager
    def _holding(self, paths: RunPaths) -> Iterator[None]:
        lock = FileLock(paths.lock)
        lock.acquire({"pid": os.getpid(), "host": platform.node(), "program": PRUNER})
        try:
            yield
        finally:
            lock.release()


class _SomeStay(Exception):
    """A plan was carried out, but for checkpoints that must not be removed after all."""


def view_plan_id(view: RunView) -> str:
    """Id of the plan of one run alone."""
    return retention.combine([view.plan]).id


def _skip(checkpoint: Checkpoint, reason: str) -> dict[str, Any]:
    return {"id": checkpoint.id, "run": checkpoint.run, **path_fields(checkpoint.path), "reason": reason}


def _stamps(paths: Sequence[str]) -> dict[str, _Stamp] | None:
    """What tells whether files are still the same; None when one is missing or no regular file."""
    stamps: dict[str, _Stamp] = {}
    for path in paths:
        try:
            info = os.lstat(path)
        except OSError:
            return None
        if not stat.S_ISREG(info.st_mode):
            return None
        stamps[path] = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
    return stamps


def _changed(run: Run, checkpoint: Checkpoint, stamps: Mapping[str, _Stamp] | None) -> str | None:
    """Why a checkpoint must not be removed after all; None when it is what the plan saw."""
    if stamps is None or _stamps(checkpoint.files) != stamps:
        return "it changed since it was planned"
    base = os.path.join(run.path, "")
    for file in checkpoint.files:
        if not file.startswith(base) or not os.path.realpath(file).startswith(os.path.realpath(run.path) + os.sep):
            return "it lies outside its run"
    said = marks.read(RunPaths(Path(run.path)).marks).of(checkpoint.id)
    if said.pinned or said.tags or said.forks:
        return "it was marked meanwhile"
    return None


def _targets(view: RunView) -> dict[Path, Path]:
    """Pointer files that exist, and what each should stand for."""
    paths = RunPaths(Path(view.run.path))
    wanted = {"latest": paths.latest, "best": paths.best}
    return {
        wanted[tag]: Path(checkpoint.path)
        for checkpoint in view.checkpoints
        for tag in checkpoint.tags
        if tag in wanted and os.path.lexists(wanted[tag])
    }


def _stale_pointers(view: RunView) -> bool:
    return any(_is_link(pointer) and not pointers.points_at(pointer, t) for pointer, t in _targets(view).items())


def _swap_pointers(view: RunView) -> None:
    for pointer, target in _targets(view).items():
        if _is_link(pointer):
            pointers.swap(pointer, target)


def _is_link(pointer: Path) -> bool:
    """A copy cannot be told from its target without reading both; those are left to the training."""
    info = pointer.lstat()
    return stat.S_ISLNK(info.st_mode) or info.st_nlink > 1
