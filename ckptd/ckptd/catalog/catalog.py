"""What is known of all runs: in memory for every question, and one TinyDB document file a run to start from.

A cache and nothing else. A file that cannot be used is moved aside and the disk is looked at anew; one that a newer
ckptd wrote is refused.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tinydb import TinyDB
from tinydb.table import Document

from ckpt import encoding
from ckpt.exceptions import DaemonError
from ckpt.paths import TEMPORARY
from ckpt.records import Checkpoint, foreign_run_id
from ckpt.retention import Decision, RunPlan
from ckpt.scan import RunView
from ckptd.catalog.documents import SCHEMA, DocumentStorage, from_document, to_document
from ckptd.catalog.ids import Ids
from ckptd.catalog.sameness import alike, much_the_same
from ckptd.process import lifecycle

REST_FACTOR = 100  # times as long as its last write took a run waits for the next
REST_MAX_S = 30.0
LAZY_S = 300.0  # for what changes too often to be written each time
RETRY_S = 5.0  # after a write that failed
ASIDE_MAX = 10  # files moved aside that are kept
log = logging.getLogger("ckptd.catalog")


class Catalog:
    """All runs by id, in memory; written behind to `directory` by `flush`. May be used from several threads."""

    def __init__(self, directory: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` (seconds) says when a write is due."""
        self._directory = directory
        self._clock = clock
        self._lock = threading.RLock()
        self._disk = threading.Lock()
        self._views: dict[str, RunView] = {}
        self._ids: dict[str, str] = {}
        self._signatures: dict[str, str] = {}
        self._ordered: list[RunView] | None = None
        self._by_id = Ids()
        self._due: dict[str, float] = {}
        self._rests_until: dict[str, float] = {}
        self._gone: set[str] = set()

    def load(self) -> list[str]:
        """Takes what an earlier daemon wrote; returns what was moved aside.

        Only whoever holds the daemon's lock may call it. Raises DaemonError when a newer ckptd wrote it: then all
        files stay as they are.
        """
        if self._directory is None or not self._directory.is_dir():
            return []
        version = lifecycle.version()
        older: list[Path] = []
        broken: dict[Path, Exception] = {}
        written: dict[str, float] = {}
        with _no_collecting():
            for path in sorted(self._directory.glob("*.json")):
                try:
                    if not path.is_file():
                        raise ValueError("not a file")
                    document = TinyDB(path, storage=DocumentStorage).table("runs").get(doc_id=1)
                    if not isinstance(document, Mapping):
                        raise ValueError("no run in it")
                    if document["schema"] > SCHEMA:
                        raise DaemonError(
                            f"{path} was written by a newer ckptd (schema {document['schema']}, "
                            f"this one knows {SCHEMA})",
                            hint="update ckptd, or make the catalog anew with `ckptd rebuild`",
                        )
                    if document["schema"] < SCHEMA:
                        older.append(path)
                        continue
                    view = from_document(document)
                    if self._file(view.run.id) != path:
                        raise ValueError("it is of another run")
                    self._take(view, document, version, written)
                except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    broken[path] = error
        self._tidy(older, broken)
        return [path.name for path in broken]

    def renew(self) -> None:
        """Writes all runs anew and then removes every other file. Raises OSError; the others then stay."""
        with self._lock:
            self._due |= dict.fromkeys(self._views, 0.0)
        self.flush()
        if self._directory is None:
            return
        with self._disk, self._lock:
            known = {self._file(run) for run in self._views}
            for path in self._directory.glob("*.json*"):
                if path not in known:
                    path.unlink(missing_ok=True)

    def all(self) -> list[RunView]:
        """All runs, the one that changed last first."""
        with self._lock:
            if self._ordered is None:
                self._ordered = sorted(self._views.values(), key=lambda v: (-v.run.updated_at, v.run.path))
            return list(self._ordered)

    def get(self, run: str) -> RunView | None:
        """A run by its id."""
        return self._views.get(run)

    def at(self, directory: str) -> RunView | None:
        """The run in a directory."""
        with self._lock:
            run = self._ids.get(directory)
            return None if run is None else self._views.get(run)

    def named(self, beginning: str) -> list[tuple[RunView, Checkpoint]]:
        """The checkpoints whose ids begin so, each with its run; runs as in `all`."""
        views = self.all()
        with self._lock:
            return [(view, checkpoint) for view in views for checkpoint in self._by_id.find(view, beginning)]

    def signature(self, directory: str) -> str | None:
        """What the run in a directory looked like to its reader at the last `put`, also before a restart.

        None when nobody said, or another version of ckptd wrote it: then the run has to be read.
        """
        with self._lock:
            return self._signatures.get(self._ids.get(directory, ""))

    def put(self, view: RunView, signature: str | None = None) -> tuple[RunView | None, RunView]:
        """Takes a fresh look at a run; returns what was known before, and the run as it is kept.

        `signature` stands for all that the look saw; without one the run has none from now on. Of two directories with
        one run id the one that is known already keeps it; the other gets an id of its own.
        """
        with self._lock:
            view = self._distinct(view)
            run = view.run.id
            before_id = self._ids.get(view.run.path)
            if before_id is not None and before_id != run:
                self._drop(before_id)
            old = self._views.get(run)
            self._keep(view)
            was = self._signatures.pop(run, None)
            if signature is not None:
                self._signatures[run] = signature
            if old is None or not much_the_same(old, view):
                self._due[run] = 0.0
                self._gone.discard(run)
            elif signature != was or not alike(old.run, view.run):
                self._due.setdefault(run, self._clock() + LAZY_S)
            return old, view

    def swap(self, known: RunView, view: RunView) -> bool:
        """Takes a run as it is planned now for one that is still known so; False, and nothing, when it is not."""
        with self._lock:
            run = known.run.id
            if self._views.get(run) is not known:
                return False
            self._keep(view)
            if not (alike(known.run, view.run) and alike(known.checkpoints, view.checkpoints)):
                self._due[run] = 0.0
            return True

    def touch(self, run: str, **fields: Any) -> None:
        """Changes fields of a run's record that are told too often to be written each time."""
        with self._lock:
            view = self._views.get(run)
            if view is not None:
                self._keep(view.evolve(run=view.run.evolve(**fields)))

    def remove(self, run: str) -> RunView | None:
        """Forgets a run; returns what was known of it."""
        with self._lock:
            view = self._views.get(run)
            if view is not None:
                self._drop(run)
            return view

    def flush(self, *, due: bool = False) -> int:
        """Writes what changed since the last call; returns how many files.

        With `due` only what is due: after a write a run rests for 100 times as long as that took, at most 30 s, so
        that a large one which changes all the time costs little. Raises the first OSError after all were tried;
        nothing is lost, and what failed is due again a few seconds later.
        """
        if self._directory is None:
            return 0
        failed: OSError | None = None
        done = 0
        with self._disk:
            version = lifecycle.version()
            for run in self._take_due(due):
                try:
                    self._write(run, version)
                    done += 1
                except OSError as error:
                    failed = failed or error
                    with self._lock:
                        if run not in self._views:
                            self._gone.add(run)
                        else:
                            self._due.setdefault(run, 0.0)
                        self._rests_until[run] = self._clock() + RETRY_S
        if failed is not None:
            raise failed
        return done

    @property
    def waiting(self) -> int:
        """How many runs are due to be written or forgotten."""
        with self._lock:
            return len(self._ripe(due=True))

    def _take_due(self, due: bool) -> list[str]:
        assert self._directory is not None
        with self._lock:
            if not self._directory.is_dir():
                # Somebody removed it, or it never was: whatever was written is written again.
                try:
                    self._directory.mkdir(mode=0o700, parents=True)
                except OSError:
                    self._rests_until |= dict.fromkeys([*self._due, *self._gone], self._clock() + RETRY_S)
                    raise
                self._due |= dict.fromkeys(self._views, 0.0)
            runs = self._ripe(due)
            for run in runs:
                self._due.pop(run, None)
                self._gone.discard(run)
            return runs

    def _ripe(self, due: bool) -> list[str]:
        dirty = {**dict.fromkeys(self._gone, 0.0), **self._due}
        if not due:
            return list(dirty)
        now = self._clock()
        return [run for run, when in dirty.items() if max(when, self._rests_until.get(run, 0.0)) <= now]

    def _write(self, run: str, version: str) -> None:
        """Writes one run as it is now, or removes its file when it is gone."""
        with self._lock:
            view, signature = self._views.get(run), self._signatures.get(run)
        path = self._file(run)
        if view is None:
            path.unlink(missing_ok=True)
            self._rests_until.pop(run, None)
            return
        began = time.perf_counter()
        document = Document(to_document(view, version, signature), doc_id=1)
        TinyDB(path, storage=DocumentStorage, access_mode="w").table("runs").insert(document)
        took = time.perf_counter() - began
        self._rests_until[run] = self._clock() + min(REST_MAX_S, REST_FACTOR * took)

    def _file(self, run: str) -> Path:
        assert self._directory is not None
        safe = run if run.isascii() and run.isalnum() and len(run) <= 64 else foreign_run_id("", run)
        return self._directory / f"{safe}.json"

    def _take(self, view: RunView, document: Mapping[str, Any], version: str, written: dict[str, float]) -> None:
        """Keeps a run that was read from its file; of two for one directory the one that was written last."""
        when = float(document["written"])
        with self._lock:
            other = self._ids.get(view.run.path)
            if other is not None:
                if when <= written[other]:
                    self._gone.add(view.run.id)
                    return
                self._drop(other)
            written[view.run.id] = when
            self._keep(view)
            if document["version"] == version and isinstance(document["signature"], str):
                self._signatures[view.run.id] = document["signature"]

    def _tidy(self, older: list[Path], broken: Mapping[Path, Exception]) -> None:
        """Takes away what cannot be used and what a kill left; of what is moved aside the newest files stay."""
        assert self._directory is not None
        for path, error in broken.items():
            log.warning("catalog file %s cannot be used (%s); it is moved aside", path.name, error)
            with contextlib.suppress(OSError):
                os.replace(path, path.with_name(f"{path.name}.corrupt-{time.time_ns()}"))
        if older:
            log.info("%d catalog files are of an older ckptd; their runs are read anew", len(older))
        with contextlib.suppress(OSError):
            aside = sorted(self._directory.glob("*.corrupt-*"), key=lambda path: path.name.rpartition("-")[2])
            # Nobody else writes here, so no temporary file is in use.
            left = [path for path in self._directory.iterdir() if TEMPORARY.match(path.name)]
            for path in (*older, *left, *aside[:-ASIDE_MAX]):
                path.unlink(missing_ok=True)

    def _keep(self, view: RunView) -> None:
        self._views[view.run.id] = view
        self._ids[view.run.path] = view.run.id
        self._ordered = None

    def _drop(self, run: str) -> None:
        view = self._views.pop(run)
        if self._ids.get(view.run.path) == run:
            del self._ids[view.run.path]
        self._ordered = None
        self._signatures.pop(run, None)
        self._by_id.forget(run)
        self._due.pop(run, None)
        self._gone.add(run)

    def _distinct(self, view: RunView) -> RunView:
        holder = self._views.get(view.run.id)
        if holder is None or holder.run.path == view.run.path:
            return view
        if not os.path.isdir(holder.run.path):
            # The directory was moved, not copied.
            self._ids.pop(holder.run.path, None)
            return view
        shown = encoding.printable(holder.run.path)
        return _with_id(view, foreign_run_id(view.run.id, view.run.path), f"a copy: its id belongs to {shown}")


@contextlib.contextmanager
def _no_collecting() -> Iterator[None]:
    """Keeps the garbage collector from walking, again and again, over records that all stay."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _with_id(view: RunView, run: str, problem: str) -> RunView:
    def renamed(decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
        return tuple(d.evolve(checkpoint=d.checkpoint.evolve(run=run)) for d in decisions)

    plan: RunPlan = view.plan.evolve(
        run=run, keep=renamed(view.plan.keep), remove=renamed(view.plan.remove), skip=renamed(view.plan.skip)
    )
    changed: RunView = view.evolve(
        run=view.run.evolve(id=run, problems=(*view.run.problems, problem)),
        checkpoints=tuple(c.evolve(run=run) for c in view.checkpoints),
        plan=plan,
    )
    return changed
