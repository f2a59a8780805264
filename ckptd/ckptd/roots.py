"""The watched directories: which, who named them, and whether each is still what it was."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ckpt import files
from ckpt.encoding import path_fields, path_from_fields, printable
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckptd.config import Origin, Root, check_mode

State = Literal["ok", "degraded", "polling"]
_TREND_S = 3600.0  # how far back free space is remembered
_SAMPLE_S = 10.0
_TREND_MIN_S = 120.0  # less says nothing about when a disk is full


@dataclass
class Watched:
    """A root and how it fares."""

    root: Root
    identity: tuple[int, int] | None = None
    """Device and inode that the path had when it was accepted."""
    state: State = "ok"
    problem: str | None = None
    free: deque[tuple[float, int]] = field(default_factory=deque)

    def check(self) -> str | None:
        """Why the root must not be believed now; None when it is the directory that was accepted and readable."""
        path = self.root.path
        try:
            info = os.stat(path)
        except OSError as error:
            return f"it cannot be reached: {error.strerror}"
        if self.identity is None:
            self.identity = (info.st_dev, info.st_ino)
        elif self.identity != (info.st_dev, info.st_ino):
            return "another directory stands in its place; `ckpt watch add` accepts it"
        try:
            with os.scandir(path) as entries:
                next(entries, None)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        return None

    def sample(self, now: float) -> None:
        """Remembers the free space of the root's disk."""
        free = self.free_bytes()
        if free is not None and (not self.free or now - self.free[-1][0] >= _SAMPLE_S):
            self.free.append((now, free))
        while self.free and self.free[0][0] < now - _TREND_S:
            self.free.popleft()

    def free_bytes(self) -> int | None:
        """Free space for this user; None when it cannot be asked."""
        try:
            info = os.statvfs(self.root.path)
        except OSError:
            return None
        return info.f_bavail * info.f_frsize

    def full_in_s(self) -> float | None:
        """Seconds until the disk is full at the pace of the last hour; None when it does not fill or is not known."""
        if len(self.free) < 2:
            return None
        (then, before), (now, after) = self.free[0], self.free[-1]
        if now - then < _TREND_MIN_S or after >= before:
            return None
        return after * (now - then) / (before - after)


class Roots:
    """All watched roots by path. Those of commands are kept in a file; `store` None keeps nothing."""

    def __init__(self, store: Path | None) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._watched: dict[str, Watched] = {}

    def load(self, configured: Iterable[Root], session: Iterable[str] = ()) -> list[str]:
        """Takes the roots of config.toml, of commands and of the command line; returns what had to be left out."""
        problems: list[str] = []
        wanted: list[Root] = list(configured)
        wanted += self._stored(problems)
        wanted += [Root(path=os.path.realpath(path), origin="session") for path in session]
        with self._lock:
            before = self._watched
            wanted += [w.root for w in before.values() if w.root.origin == "session"]
            self._watched = {}
            for root in sorted(wanted, key=lambda r: len(r.path)):
                holder = self.holder(root.path)
                if holder is not None:
                    if holder.root.path != root.path:
                        problems.append(f"{printable(root.path)} lies inside {printable(holder.root.path)}")
                    continue
                kept = before.get(root.path, Watched(root))
                kept.root = root
                self._watched[root.path] = kept
        return problems

    def all(self) -> list[Watched]:
        """All roots, by path."""
        with self._lock:
            return [self._watched[path] for path in sorted(self._watched)]

    def holder(self, path: str) -> Watched | None:
        """The root at or above a path."""
        with self._lock:
            for watched in self._watched.values():
                if _inside(path, watched.root.path):
                    return watched
        return None

    def add(self, path: str, mode: str, exclude: Sequence[str], *, keep: bool = True) -> tuple[Watched, list[Watched]]:
        """Watches a directory; returns it and the roots inside it that it takes over.

        Naming a root again sets its excludes and accepts the directory that stands there now. Raises UsageError for one
        that does not exist, is no directory, is not readable or lies inside another, and for mode enforce.
        """
        try:
            check_mode(mode)
        except ValueError as error:
            raise UsageError(str(error), hint="add it without --enforce to watch it") from None
        real = _check_directory(path)
        origin: Origin = "command" if keep else "session"
        with self._lock:
            holder = self.holder(real)
            if holder is not None and holder.root.path != real:
                raise UsageError(
                    f"{printable(real)} is already watched by {printable(holder.root.path)}",
                    hint="every run below a root is watched; nothing needs to be added",
                )
            if holder is not None and holder.root.origin == "config.toml":
                origin = "config.toml"
                exclude = holder.root.exclude
            inner = [w for w in self._watched.values() if _inside(w.root.path, real) and w.root.path != real]
            named = [w for w in inner if w.root.origin == "config.toml"]
            if named:
                raise UsageError(
                    f"{printable(real)} contains {printable(named[0].root.path)}, which config.toml names",
                    hint="roots may not lie in each other: change config.toml, or add a narrower directory",
                )
            # Of a root that is known already, a passing session must not unmake the kept one.
            if holder is not None and holder.root.origin == "command":
                origin = "command"
            before = dict(self._watched)
            for watched in inner:
                del self._watched[watched.root.path]
            added = Watched(Root(path=real, exclude=tuple(exclude), origin=origin))
            if holder is not None:
                added.free = holder.free
            self._watched[real] = added
            try:
                self._save()
            except OSError as error:
                self._watched = before
                raise OperationError(f"the list of roots could not be written: {error}") from error
            return added, inner

    def remove(self, path: str) -> Watched:
        """Stops watching a root; its files stay. Raises AddressError and UsageError."""
        real = os.path.realpath(os.path.expanduser(path))
        with self._lock:
            watched = self._watched.get(real) or self._watched.get(path)
            if watched is None:
                known = [printable(p) for p in sorted(self._watched)]
                raise AddressError(
                    f"{printable(path)} is not watched",
                    hint="watched: " + ", ".join(known) if known else "nothing is watched; add with `ckpt watch add`",
                    candidates=known,
                )
            if watched.root.origin == "config.toml":
                raise UsageError(
                    f"{printable(watched.root.path)} is named in config.toml", hint="remove it there, then reload"
                )
            del self._watched[watched.root.path]
            try:
                self._save()
            except OSError as error:
                self._watched[watched.root.path] = watched
                raise OperationError(f"the list of roots could not be written: {error}") from error
            return watched

    def _save(self) -> None:
        if self._store is None:
            return
        kept = [w.root for w in self._watched.values() if w.root.origin == "command"]
        listed = [{**path_fields(r.path), "mode": r.mode, "exclude": list(r.exclude)} for r in kept]
        files.write_json(self._store, {"format": 1, "roots": listed}, mode=0o600)

    def _stored(self, problems: list[str]) -> list[Root]:
        if self._store is None:
            return []
        try:
            raw: Any = files.read_json(self._store)
            return [
                Root(path=path_from_fields(r), exclude=tuple(map(str, r.get("exclude", ()))), origin="command")
                for r in raw["roots"]
            ]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{self._store} cannot be used ({error}); add its roots again with `ckpt watch add`")
            return []


def root_json(watched: Watched, runs: int, checkpoints: int, size: int, now: float | None = None) -> dict[str, Any]:
    """A root as `ckpt status --json` shows it."""
    watched.sample(time.time() if now is None else now)
    return {
        **path_fields(watched.root.path),
        "mode": watched.root.mode,
        "state": watched.state,
        "problem": watched.problem,
        "exclude": list(watched.root.exclude),
        "origin": watched.root.origin,
        "runs": runs,
        "checkpoints": checkpoints,
        "bytes": size,
        "free_bytes": watched.free_bytes(),
        "full_in_s": watched.full_in_s(),
    }


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _check_directory(path: str) -> str:
    real = os.path.realpath(os.path.expanduser(path))
    shown = printable(path)
    if not os.path.exists(real):
        raise UsageError(f"{shown} does not exist", hint="make the directory first; an empty one is fine")
    if not os.path.isdir(real):
        raise UsageError(f"{shown} is a file, not a directory", hint="name the directory above it")
    try:
        with os.scandir(real) as entries:
            next(entries, None)
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}", hint="check its permissions") from error
    return real
