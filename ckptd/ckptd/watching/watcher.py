"""Hints that something changed on disk, and proof that they still come.

An event says no more than that a directory is dirty. Lost events, overflows, blind directories and dead threads are
expected: whoever listens looks at the disk anyway, and the beat tells whether events still come through.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from ckpt import formats, mounts
from ckpt.paths import is_temporary

log = logging.getLogger("ckptd.watcher")

_TELLS_NOTHING = frozenset({"metrics.csv", "curves.png", "states.jsonl"})
"""Files of own runs that a training rewrites often, and that no record is read from."""
_MANY = 512  # dirty directories after which one full look is cheaper
_WAKE_S = 0.02  # of a burst, one in this time wakes the listener

_BEAT = "beat"


class Dirt:
    """Directories that changed since they were last taken; True where runs may have come or gone, also below.

    Filled from any thread; `wake` is called at the first addition after each `take`, and repeatedly while more come.
    `everything` stands for a loss of events.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._directories: dict[str, bool] = {}
        self._everything = False
        self._woken: float | None = None

    def add(self, directory: str, *, structural: bool) -> None:
        """Marks a directory."""
        with self._lock:
            if not self._everything:
                self._directories[directory] = self._directories.get(directory, False) or structural
                if len(self._directories) > _MANY:
                    self._directories = _uncovered(self._directories)
                    if len(self._directories) > _MANY // 2:
                        self._directories.clear()
                        self._everything = True
            due = self._due()
        if due:
            self._wake()

    def all(self) -> None:
        """Marks everything."""
        with self._lock:
            self._everything = True
            self._directories.clear()
            due = self._due()
        if due:
            self._wake()

    def __len__(self) -> int:
        return len(self._directories) + self._everything

    def take(self) -> tuple[dict[str, bool], bool]:
        """What is dirty, and whether everything is; clean afterwards."""
        with self._lock:
            taken, self._directories = self._directories, {}
            everything, self._everything = self._everything, False
            self._woken = None
        return _uncovered(taken), everything

    def _due(self) -> bool:
        now = time.monotonic()
        if self._woken is not None and now - self._woken < _WAKE_S:
            return False
        self._woken = now
        return True


def _uncovered(directories: Mapping[str, bool]) -> dict[str, bool]:
    """Without those below a directory that is structurally dirty: the look at that one sees them."""
    kept: dict[str, bool] = {}
    for directory, structural in directories.items():
        above, path = os.path.dirname(directory), directory
        while above != path and not directories.get(above, False):
            above, path = os.path.dirname(above), above
        if above == path:
            kept[directory] = structural
    return kept


class Backend(Protocol):
    """What gets changes from the system; `ckptd.inotify` on Linux, `ckptd.observer` elsewhere."""

    @property
    def alive(self) -> bool: ...
    @property
    def watches(self) -> int: ...
    @property
    def blind(self) -> dict[str, str]: ...
    @property
    def roots(self) -> set[str]: ...
    def watch(self, root: str, left_out: Callable[[str], bool]) -> bool: ...
    def leave_out(self, root: str, left_out: Callable[[str], bool]) -> None: ...
    def unwatch(self, root: str) -> None: ...
    def fill(self) -> None: ...
    def poll(self) -> None: ...
    def close(self) -> None: ...


class Watcher:
    """Watches directories with all below them and marks what changes in `dirt`. Never raises for what a system refuses.

    Methods block while trees are walked and may be called from any thread; the properties answer at once.
    """

    def __init__(self, dirt: Dirt, beat_directory: Path | None = None) -> None:
        self._dirt = dirt
        self._beat_directory = None if beat_directory is None else str(beat_directory)
        self._beat_seen = threading.Event()
        self._wanted: dict[str, Callable[[str], bool]] = {}
        self._identities: dict[str, tuple[int, int] | None] = {}
        self._mounted: frozenset[tuple[str, str]] = frozenset()
        self._backend: Backend | None = None
        self._refused = ""
        self._gaps = False
        self._lock = threading.RLock()
        self.overflows = 0
        self.restarts = 0

    @property
    def state(self) -> str:
        """`watching`, or `polling` when events do not come and only looks see changes."""
        return "watching" if self._backend is not None and self._backend.alive else "polling"

    @property
    def blind(self) -> dict[str, str]:
        """Directories that cannot be watched, with the reason. Only `poll` and the full look see changes there."""
        return {} if self._backend is None else self._backend.blind

    @property
    def watches(self) -> int:
        """Kernel watches in use."""
        return 0 if self._backend is None else self._backend.watches

    def start(self) -> None:
        """Starts watching; where the system refuses, `state` says so and `watch`, `poll` or `restart` try again."""
        with self._lock:
            self._open()
            self._arrange()

    def watch(self, wanted: Mapping[str, Callable[[str], bool]]) -> set[str]:
        """Makes these the watched directories; the predicate of each says which directories below it are left out.

        What has died is watched anew: threads, and directories that were removed, unmounted or replaced. Returns the
        directories that are watched from now on and were not before. Another predicate than before holds for what
        appears from now on; `again` applies it to all.
        """
        with self._lock:
            if wanted.keys() != self._wanted.keys():
                self._mounted = mounts.mounted_below(mounts.mount_table(), wanted)
            self._wanted = dict(wanted)
            self._revive()
            return self._arrange()

    def again(self, directory: str) -> None:
        """Watches a directory anew."""
        with self._lock:
            if self._backend is not None:
                self._backend.unwatch(directory)
                self._arrange()

    def fill(self) -> None:
        """Watches what was made while events were lost. Does nothing when none were lost since the last time."""
        with self._lock:
            if self._gaps and self._backend is not None:
                # First, so that what is lost meanwhile is not forgotten.
                self._gaps = False
                try:
                    self._backend.fill()
                except BaseException:
                    self._gaps = True
                    raise

    def poll(self) -> None:
        """Looks where events do not come: marks changed blind directories, and everything when there are no events.

        Tries to watch what could not be watched before, and finds out that something was mounted in a watched tree.
        Costs one stat for each wanted and each blind directory.
        """
        with self._lock:
            self._revive()
            self._arrange()
            if self._backend is None:
                self._dirt.all()
                return
            mounted = mounts.mounted_below(mounts.mount_table(), self._wanted)
            if mounted != self._mounted:
                self._lost(False)
                self._mounted = mounted
                self.fill()
            self._backend.poll()

    def beat(self, wait_s: float = 5.0) -> bool:
        """Writes into a watched directory of ours and waits for the event; False when none comes."""
        if self._beat_directory is None or self._beat_directory in self.blind:
            return self.state == "watching"
        self._beat_seen.clear()
        try:
            Path(self._beat_directory, _BEAT).write_text(f"{time.time()}\n", encoding="utf-8")
        except OSError:
            # A full disk of ours says nothing about the watcher.
            return self.state == "watching"
        return self._beat_seen.wait(wait_s)

    def restart(self) -> None:
        """Throws all watches away and starts anew; everything is dirty then."""
        with self._lock:
            self.restarts += 1
            self._close()
            self._open()
            self._arrange()
        self._dirt.all()

    def close(self) -> None:
        """Stops all threads; may be called twice."""
        with self._lock:
            self._close()

    def _open(self) -> bool:
        if self._beat_directory is not None:
            with contextlib.suppress(OSError):
                Path(self._beat_directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._backend = _open_backend(self._heard, self._lost)
        except (OSError, RuntimeError) as error:
            # RuntimeError: no thread can be started.
            if self._refused != str(error):
                log.warning("changes cannot be watched (%s); looks at the disk have to do", error)
            self._refused = str(error)
            return False
        self._refused = ""
        return True

    def _close(self) -> None:
        backend, self._backend = self._backend, None
        self._identities.clear()
        self._gaps = False
        if backend is not None:
            backend.close()

    def _revive(self) -> None:
        """Starts anew when there is no thread, or only a dead one, to hear events."""
        if self.state == "watching":
            return
        if self._backend is not None:
            log.warning("the thread that hears events died; the watcher is started anew")
            self.restarts += 1
            self._close()
        if self._open():
            self._dirt.all()

    def _arrange(self) -> set[str]:
        """Has the backend watch what is wanted and no more."""
        backend = self._backend
        if backend is None:
            return set()
        wanted = dict(self._wanted)
        if self._beat_directory is not None:
            wanted.setdefault(self._beat_directory, _everything_below)
        for path in (backend.roots | self._identities.keys()) - wanted.keys():
            backend.unwatch(path)
            self._identities.pop(path, None)
        fresh = set()
        roots = backend.roots
        # The beat comes first: it must have its watch where there are few.
        for path in sorted(wanted, key=lambda path: (path != self._beat_directory, path)):
            left_out = wanted[path]
            identity = _identity(path)
            if path in roots and self._identities.get(path) == identity:
                backend.leave_out(path, left_out)
                continue
            before = path in self._identities
            self._identities[path] = identity
            if backend.watch(path, left_out):
                fresh.add(path)
            if before and path != self._beat_directory:
                self._dirt.add(path, structural=True)
        return fresh - {self._beat_directory or ""}

    def _heard(self, directory: str, name: str, is_directory: bool) -> None:
        if directory == self._beat_directory:
            self._beat_seen.set()
        elif is_directory:
            self._dirt.add(os.path.join(directory, name) if name else directory, structural=True)
        elif not is_temporary(name) and name not in _TELLS_NOTHING:
            structural = name == "run.json" or formats.may_be_file(name) or formats.is_marker(name)
            # A link of any name may lead to a checkpoint.
            structural = structural or os.path.islink(os.path.join(directory, name))
            self._dirt.add(directory, structural=structural)

    def _lost(self, overflow: bool) -> None:
        self.overflows += overflow
        self._gaps = True
        self._dirt.all()


def _open_backend(heard: Callable[[str, str, bool], None], lost: Callable[[bool], None]) -> Backend:
    if platform.system() == "Linux":
        from ckptd.watching.inotify import Inotify

        return Inotify(heard, lost)
    from ckptd.watching.observer import Observed

    return Observed(heard, lost)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _everything_below(path: str) -> bool:
    return True
