"""From the disk to the catalog: full looks, looks at what events marked dirty, and the tail of running trainings.

A look never believes a root that is not what it was: then nothing is marked gone. One look runs at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt import files, scan
from ckpt.encoding import path_from_fields, printable
from ckpt.paths import RunPaths, StatePaths
from ckpt.scan import RunView
from ckpt.scan.finding import checkpoint_parts
from ckptd.catalog import Catalog
from ckptd.events import Events, changes
from ckptd.roots import Roots, Watched
from ckptd.states import StateTail

log = logging.getLogger("ckptd.scanner")
_ALWAYS_READ_EVERY = 60  # full looks after which an unchanged run is read all the same


@dataclass
class Counts:
    """What the scanner did so far; part of the status."""

    full: int = 0
    partial: int = 0
    errors: int = 0
    last_full_s: float = 0.0
    last_error: str | None = None


class Scanner:
    """Keeps the catalog equal to the disk. Methods block and may be called from any thread."""

    def __init__(
        self, roots: Roots, catalog: Catalog, events: Events, state: StatePaths | None, *, prune: bool = True
    ) -> None:
        """`prune` says whether announcements of runs that are gone are removed."""
        self.counts = Counts()
        self._roots = roots
        self._catalog = catalog
        self._events = events
        self._state = state
        self._prune = prune
        self._stopping = False
        self._lock = threading.RLock()
        self._caches: dict[str, scan.Cache] = {}
        self._signatures: dict[str, int] = {}
        self._states = StateTail(catalog, events)
        self._writing: set[str] = set()
        self._accepted: set[str] = set()

    def stop(self) -> None:
        """Ends the look that runs, as soon as its present run is read; what was not looked at stays as it was."""
        self._stopping = True

    def full(self) -> set[str]:
        """Looks at all roots and announced runs; returns the ids of the runs that were read."""
        started = time.monotonic()
        read: set[str] = set()
        with self._lock:
            self.counts.full += 1
            for watched in self._roots.all():
                read |= self._look(watched)
            read |= self._look_at_announced()
            self._forget_strays()
        self.counts.last_full_s = time.monotonic() - started
        return read

    def anew(self) -> set[str]:
        """A full look that trusts nothing remembered."""
        with self._lock:
            self._caches.clear()
            self._signatures.clear()
            return self.full()

    def look(self, watched: Watched) -> set[str]:
        """Looks at one root; returns the ids of the runs that were read."""
        with self._lock:
            return self._look(watched)

    def dirty(self, directories: Mapping[str, bool]) -> set[str]:
        """Looks at what lies in and below changed directories; True means that runs may have come or gone there.

        Returns the ids of the runs that were read.
        """
        runs: set[str] = set()
        discover: dict[str, Watched] = {}
        with self._lock:
            self.counts.partial += 1
            known = {view.run.path: view.run.own for view in self._catalog.all()}
            for directory, structural in directories.items():
                above = [path for path in _parents(directory) if path in known]
                watched = self._roots.holder(directory)
                if above:
                    runs.add(above[0])
                    if known[above[0]]:
                        structural = directory == above[0] and not os.path.isfile(RunPaths(Path(directory)).manifest)
                elif watched is not None and scan.Excludes(watched.root.path, watched.root.exclude).covers(directory):
                    continue
                if structural:
                    runs.update(path for path in known if path.startswith(directory.rstrip("/") + "/"))
                    if watched is not None:
                        discover[watched.root.path] = watched
            read: set[str] = set()
            for watched in discover.values():
                read |= self._look(watched, only=runs)
            for path in sorted(runs):
                view = self.read(Path(path))
                if view is not None:
                    read.add(view.run.id)
        return read

    def read(self, directory: Path) -> RunView | None:
        """Looks at one run; None when it is gone or cannot be read, or its root is not to be believed."""
        with self._lock:
            watched = self._roots.holder(str(directory))
            if watched is not None and self._distrust(watched):
                return None
            return self._read(directory, watched)

    def announce(self, directory: Path) -> RunView | None:
        """Takes a run that made itself known, wherever it lies; None when it cannot be read."""
        return self.read(directory)

    def forget(self, watched: Watched) -> None:
        """Drops the runs of a root that is not watched any more; those that made themselves known stay."""
        with self._lock:
            self._accepted.discard(watched.root.path)
            announced = {path for _, path in self.announced()}
            for view in self._catalog.all():
                if view.run.root != watched.root.path:
                    continue
                if view.run.path in announced:
                    self._read(Path(view.run.path), None)
                else:
                    self._gone(view)

    def accept(self, watched: Watched) -> None:
        """Believes a root from now on, even when it is empty where runs were known."""
        self._accepted.add(watched.root.path)

    def poll_training(self) -> set[str]:
        """Tells of new states of running trainings, and reads runs whose training ended or is writing."""
        read: set[str] = set()
        for view in self._catalog.all():
            run = view.run
            if not run.own or run.status not in ("training", "stalled"):
                continue
            paths = RunPaths(Path(run.path))
            with contextlib.suppress(OSError):
                self._states.follow(run.id, paths)
            if files.FileLock(paths.lock).is_free():
                fresh = self.read(paths.directory)
                if fresh is not None:
                    read.add(fresh.run.id)
        return read

    def unsettled(self) -> list[Path]:
        """Run directories in which something is being written, to be looked at again soon."""
        return [Path(path) for path in sorted(self._writing)]

    def training_outside(self) -> list[Path]:
        """Directories of running trainings outside all roots."""
        return [
            Path(view.run.path)
            for view in self._catalog.all()
            if view.run.status == "training" and self._roots.holder(view.run.path) is None
        ]

    def failed(self, what: str, error: BaseException) -> None:
        """Counts and logs an error that must not end the daemon."""
        self.counts.errors += 1
        self.counts.last_error = f"{what}: {error}"
        log.error("%s: %s", what, error, exc_info=error)

    # Roots

    def _look(self, watched: Watched, only: set[str] | None = None) -> set[str]:
        """Finds the runs of a root and reads those that changed, or only new ones besides those in `only`."""
        if self._distrust(watched):
            return set()
        root = Path(watched.root.path)
        known = {v.run.path: v for v in self._catalog.all() if v.run.root == watched.root.path}
        try:
            found = [str(path) for path in scan.find_runs(root, exclude=watched.root.exclude)]
        except OSError as error:
            self._degrade(watched, f"it cannot be read: {error.strerror}")
            return set()
        if known and not found and watched.root.path not in self._accepted and not os.listdir(root):
            self._degrade(watched, f"it is empty, but {len(known)} runs were known; `ckpt watch add` accepts it")
            return set()
        self._accepted.add(watched.root.path)
        self._recover(watched)
        read: set[str] = set()
        for path in found:
            if self._stopping:
                return read
            if only is not None and path in known and path not in only:
                continue
            view = self._read(Path(path), watched, quick=only is None)
            if view is not None:
                read.add(view.run.id)
        for path in sorted(known.keys() - set(found)):
            # A run that was moved is known under its new path by now.
            gone = self._catalog.at(path)
            if gone is not None and _is_gone(path):
                self._gone(gone)
        return read

    def _distrust(self, watched: Watched) -> bool:
        problem = watched.check()
        if problem is not None:
            self._degrade(watched, problem)
        return problem is not None

    def _degrade(self, watched: Watched, problem: str) -> None:
        if watched.state != "degraded" or watched.problem != problem:
            watched.state, watched.problem = "degraded", problem
            log.warning("root %s: %s", printable(watched.root.path), problem)
            self._events.emit("root.degraded", path=printable(watched.root.path), problem=problem)

    def _recover(self, watched: Watched) -> None:
        if watched.state == "degraded":
            watched.state, watched.problem = "ok", None
            self._events.emit("root.ok", path=printable(watched.root.path))

    def _look_at_announced(self) -> set[str]:
        read: set[str] = set()
        for note, path in self.announced():
            if self._stopping:
                break
            if self._roots.holder(path) is not None:
                continue
            if _is_gone(path):
                # A missing parent may be a disk that is not mounted.
                if self._prune and os.path.isdir(os.path.dirname(path)):
                    with contextlib.suppress(OSError):
                        note.unlink()
                continue
            view = self._read(Path(path), None, quick=True)
            if view is not None:
                read.add(view.run.id)
        return read

    def announced(self) -> list[tuple[Path, str]]:
        """Runs that made themselves known: the file that says so, and the run's directory."""
        if self._state is None:
            return []
        found = []
        try:
            notes = sorted(self._state.announced.iterdir())
        except OSError:
            return []
        for note in notes:
            try:
                raw = files.read_json(note, limit=1 << 20)
                path = os.path.realpath(path_from_fields(raw))
            except (OSError, ValueError, KeyError, TypeError):
                continue
            found.append((note, path))
        return found

    def _forget_strays(self) -> None:
        """Drops runs that neither a root nor an announcement speaks for any more."""
        announced = {path for _, path in self.announced()}
        for view in self._catalog.all():
            if view.run.path not in announced and self._roots.holder(view.run.path) is None:
                self._gone(view)

    # Runs

    def _read(self, directory: Path, watched: Watched | None, *, quick: bool = False) -> RunView | None:
        path = str(directory)
        old = self._catalog.at(path)
        signature = self._signature(directory)
        unchanged = signature is not None and self._signatures.get(path) == signature
        root = None if watched is None else Path(watched.root.path)
        # A run that was announced belongs to a root from the moment on that one is put above it.
        moved = old is not None and root is not None and old.run.root != str(root)
        if quick and unchanged and not moved and old is not None and _settled(old):
            return None
        cache = self._caches.setdefault(path, scan.Cache())
        marks = None if self._state is None else self._state.marks
        try:
            fresh = scan.read_run(directory, root=root, cache=cache, foreign_marks=marks)
            view = self._take(path, old, fresh)
        except OSError as error:
            # Between the root's check and the look its disk may have gone.
            believed = watched is None or not self._distrust(watched)
            if old is not None and believed and _is_gone(path):
                self._gone(old)
            elif not isinstance(error, FileNotFoundError):
                self.failed(f"run {printable(path)} cannot be read", error)
            return None
        except Exception as error:  # noqa: BLE001  one run that breaks a reader must not hide the others
            self.failed(f"run {printable(path)} could not be understood", error)
            return None
        if view is not None and signature is not None:
            self._signatures[path] = signature
        return view

    def _take(self, path: str, old: RunView | None, fresh: RunView) -> RunView | None:
        """Puts a fresh look into the catalog and tells what changed; None when it is no run any more."""
        if not fresh.run.own and not fresh.checkpoints:
            if old is not None:
                self._gone(old)
            return None
        if any(c.state == "writing" for c in fresh.checkpoints):
            self._writing.add(path)
        else:
            self._writing.discard(path)
        before, view = self._catalog.put(fresh)
        if before is None and old is not None and old.run.id != view.run.id:
            self._events.emit("run.removed", old.run.id, path=printable(path))
        for change in changes(before, view, _trashed(before, view)):
            self._events.emit(**_shown(change))
        return view

    def _gone(self, view: RunView) -> None:
        path = view.run.path
        self._catalog.remove(view.run.id)
        self._caches.pop(path, None)
        self._signatures.pop(path, None)
        self._writing.discard(path)
        self._states.forget(view.run.id)
        self._events.emit("run.removed", view.run.id, path=printable(path))

    def _signature(self, directory: Path) -> int | None:
        """A number that changes with anything that reading the run would see; None when it must be read."""
        entries: list[tuple[str, int, int, int]] = []
        # The parts of a foreign run are named like those of an own one.
        places = [directory, *checkpoint_parts(directory)]
        old = self._catalog.at(str(directory))
        try:
            for place in places:
                with os.scandir(place) as listing:
                    for entry in listing:
                        info = entry.stat(follow_symlinks=False)
                        entries.append((entry.path, info.st_ino, info.st_size, info.st_mtime_ns))
            if self._state is not None and old is not None and not old.run.own:
                marks = self._state.marks / f"{old.run.id}.jsonl"
                entries.append(("", 0, marks.stat().st_size if marks.exists() else 0, 0))
        except OSError:
            return None
        entries.sort()
        # The number of the look makes every run be read now and then, whatever its files say.
        return hash((tuple(entries), self.counts.full // _ALWAYS_READ_EVERY))


def _settled(view: RunView) -> bool:
    """Whether only a change of files can change what is known of a run."""
    return view.run.status not in ("training", "stalled") and all(c.state != "writing" for c in view.checkpoints)


def _parents(path: str) -> Iterable[str]:
    """The path itself and all directories above it, nearest first."""
    while True:
        yield path
        above = os.path.dirname(path)
        if above == path:
            return
        path = above


def _is_gone(path: str) -> bool:
    """Whether a run directory is really not there or no run any more, rather than out of reach."""
    try:
        info = os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        # A vanished parent is a vanished disk until the root says otherwise; its root was checked just before.
        return True
    except OSError:
        return False
    return not any(name == "run.json" for name in info)


def _trashed(old: RunView | None, new: RunView) -> frozenset[str]:
    """Ids of checkpoints in the run's trash; looked up only when some have vanished."""
    if old is None or not new.run.own or {c.path for c in old.checkpoints} <= {c.path for c in new.checkpoints}:
        return frozenset()
    from ckpt.trash import Trash

    try:
        entries = Trash(RunPaths(Path(new.run.path)).trash).entries()
    except OSError:
        return frozenset()
    return frozenset(str(entry.checkpoint.get("id")) for entry in entries)


def _shown(change: Mapping[str, Any]) -> dict[str, Any]:
    return {k: printable(v) if isinstance(v, str) and k in ("path", "name") else v for k, v in change.items()}
