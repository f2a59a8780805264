"""The watched directories: which, who named them, and whether each is still what it was."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ckpt.encoding import path_fields, printable, quoted
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.scan import Excludes
from ckptd.config.values import Origin, Root, check_mode
from ckptd.roots.advice import root_warnings
from ckptd.roots.disks import Disks
from ckptd.roots.identity import Identity, renamed_to
from ckptd.roots.store import RootStore, Stored

State = Literal["ok", "degraded", "polling"]
_TREND_S = 3600.0  # how far back free space is remembered
_SAMPLE_S = 10.0
_TREND_MIN_S = 120.0  # less says nothing about when a disk is full


@dataclass
class Watched:
    """A root and how it fares."""

    root: Root
    everywhere: tuple[str, ...] = ()
    """Patterns that are left out below every root."""
    identity: Identity | None = None
    """The directory that was accepted under the path."""
    doubted: bool = False
    """Whether its numbers cannot tell that it is still that directory, so that what is in it has to."""
    state: State = "ok"
    problem: str | None = None
    polled: str | None = None
    """Why it is looked at again and again instead of being watched."""
    moved_from: str | None = None
    """The root whose directory this is under its new name."""
    directories: int | None = None
    """How many directories a full look comes through; None before the first."""
    links: tuple[tuple[str, str], ...] = ()
    """Symbolic links to directories with runs outside the root, each with its target."""
    unreadable: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Mount points below the root whose file systems are gone."""
    remounted: bool = False
    """Whether one of them has come back, so that events have to be asked for anew."""
    free: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Everything that is left out below it."""
        return (*self.root.exclude, *self.everywhere)

    @property
    def excludes(self) -> Excludes:
        """What is left out below it, ready to be asked."""
        return Excludes(self.root.path, self.patterns)

    def check(self) -> str | None:
        """Why the root must not be believed now; None when it is the directory that was accepted and readable."""
        path = printable(self.root.path)
        try:
            found = Identity.of(self.root.path)
        except (FileNotFoundError, NotADirectoryError):
            return f"it cannot be reached: there is no such directory{self._moved() or '; is its disk mounted?'}"
        except OSError as error:
            return f"it cannot be reached: {error.strerror}"
        if self.identity is None:
            self.identity = found
        same = self.identity.is_(found)
        if same is False:
            accept = f"`ckpt watch add {path}` accepts what is there now"
            if self.identity.device != found.device:
                return f"another file system stands in its place, or its own is not mounted; mount it, or {accept}"
            return f"another directory stands in its place{self._moved() or ''}; {accept}"
        self.doubted = same is None
        if same:
            # Device numbers may change when a file system is mounted anew.
            self.identity = found
        try:
            with os.scandir(self.root.path) as entries:
                next(entries, None)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        return None

    def trust(self) -> None:
        """Takes the directory that stands there now for the one that was accepted. Raises OSError."""
        self.identity = Identity.of(self.root.path)
        self.doubted = False

    def _moved(self) -> str | None:
        """What to say when the directory has another name beside the old one."""
        name = None if self.identity is None else renamed_to(self.root.path, self.identity)
        return name and f"; it was renamed to {printable(name)}: `ckpt watch add {quoted(name)}` follows it"

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
        self._store = RootStore(store)
        self._lock = threading.RLock()
        self._watched: dict[str, Watched] = {}
        self._everywhere: tuple[str, ...] = ()
        self.disks = Disks()
        self._aside: dict[str, Root] = {}
        """Roots of commands that config.toml names too, or names one above: theirs again when it does not any more."""

    def load(
        self, configured: Iterable[Root], session: Iterable[str] = (), *, everywhere: Sequence[str] = ()
    ) -> list[str]:
        """Takes the roots of config.toml, of commands and of the command line; returns what had to be left out.

        `everywhere` are patterns that are left out below every root.
        """
        problems: list[str] = []
        wanted: list[Root] = list(configured)
        stored = self._stored(problems)
        wanted += stored.roots
        wanted += [Root(path=os.path.realpath(path), origin="session") for path in session]
        with self._lock:
            before = self._watched
            self._everywhere = tuple(everywhere)
            self.disks.known = {**stored.disks, **self.disks.known}
            wanted += [w.root for w in before.values() if w.root.origin == "session"]
            self._watched, self._aside = {}, {}
            for root in sorted(wanted, key=lambda r: len(r.path)):
                holder = self.holder(root.path)
                if holder is not None:
                    if root.origin == "command":
                        self._aside[root.path] = root
                    if holder.root.path != root.path:
                        problems.append(f"{printable(root.path)} lies inside {printable(holder.root.path)}")
                    continue
                kept = before.get(root.path) or Watched(root, identity=stored.seen.get(root.path))
                kept.root = root
                kept.everywhere = self._everywhere
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

        Roots that were moved into it are taken over too. Naming a root again sets its excludes and accepts the
        directory that stands there now. A directory that was a root under another name replaces that root
        (`moved_from`). Raises UsageError for one that does not exist, is no directory, is not readable or lies inside
        another, and for mode enforce.
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
                if keep:
                    self._aside[real] = Root(path=real, exclude=tuple(exclude), origin="command")
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
            inner += [w for w in self._watched.values() if _moved_into(w, real)]
            for watched in inner:
                del self._watched[watched.root.path]
                self._aside.pop(watched.root.path, None)
            moved = None if holder is not None else self._known_as(real)
            if moved is not None:
                exclude = exclude or moved.root.exclude
                # What config.toml names stays until it is changed there.
                if moved.root.origin != "config.toml":
                    self._watched.pop(moved.root.path, None)
            added = Watched(
                Root(path=real, exclude=tuple(exclude), poll=bool(holder and holder.root.poll), origin=origin),
                everywhere=self._everywhere,
                moved_from=None if moved is None else moved.root.path,
            )
            if holder is not None:
                added.free = holder.free
            with contextlib.suppress(OSError):
                added.trust()
            self.disks.forget(real)
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

    def remember(self) -> None:
        """Keeps which directories the roots are now, and on which disks runs lie. Raises OSError."""
        with self._lock:
            self._save()

    def _known_as(self, real: str) -> Watched | None:
        """The root whose directory now stands at another path; None when it is none."""
        try:
            found = Identity.of(real)
        except OSError:
            return None
        for watched in self._watched.values():
            known = watched.identity
            if watched.root.path == real or known is None or known.is_(found) is not True:
                continue
            try:
                if known.is_(Identity.of(watched.root.path)) is True:
                    continue
            except OSError:
                pass
            return watched
        return None

    def _save(self) -> None:
        kept = [w.root for w in self._watched.values() if w.root.origin == "command"] + list(self._aside.values())
        seen = {path: w.identity for path, w in self._watched.items() if w.identity is not None}
        self._store.write(kept, seen, self.disks.known)

    def _stored(self, problems: list[str]) -> Stored:
        try:
            return self._store.read()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{self._store.path} cannot be used ({error}); add its roots again with `ckpt watch add`")
            return Stored()


def _moved_into(watched: Watched, directory: str) -> bool:
    """Whether a root has left its place and lies in a directory now, under its own name."""
    known = watched.identity
    if known is None or watched.root.origin == "config.toml" or os.path.lexists(watched.root.path):
        return False
    try:
        return known.is_(Identity.of(os.path.join(directory, os.path.basename(watched.root.path)))) is True
    except OSError:
        return False


def root_json(watched: Watched, runs: int, checkpoints: int, size: int, now: float | None = None) -> dict[str, Any]:
    """A root as `ckpt status --json` shows it."""
    watched.sample(time.time() if now is None else now)
    return {
        **path_fields(watched.root.path),
        "mode": watched.root.mode,
        "state": watched.state,
        "problem": watched.problem,
        "exclude": list(watched.root.exclude),
        "poll": watched.root.poll,
        "origin": watched.root.origin,
        "runs": runs,
        "checkpoints": checkpoints,
        "bytes": size,
        "free_bytes": watched.free_bytes(),
        "full_in_s": watched.full_in_s(),
        "polled": watched.polled,
        "directories": watched.directories,
        "links": [{**path_fields(link), "target": printable(target)} for link, target in watched.links],
        "unreadable": [printable(directory) for directory in watched.unreadable],
        "warnings": root_warnings(
            watched.root.path,
            directories=watched.directories,
            links=watched.links,
            unreadable=watched.unreadable,
            missing=watched.missing,
        ),
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
