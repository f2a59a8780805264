"""Hints that something changed on disk; the only module that knows how they are obtained.

An event says no more than that a directory is dirty. Lost events, overflows, blind directories and dead threads are
expected: whoever listens looks at the disk anyway, and the beat tells whether events still come through.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from ckpt import formats
from ckpt.paths import is_temporary

log = logging.getLogger("ckptd.watcher")

_KINDS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
_TELLS_NOTHING = frozenset({"metrics.csv", "curves.png", "states.jsonl"})
"""Files of own runs that a training rewrites often, and that no record is read from."""
_MANY = 512  # dirty directories after which one full look is cheaper

_BEAT = "beat"


class Dirt:
    """Directories that changed since they were last taken; True where runs may have come or gone.

    Filled from any thread; `wake` is called for each addition. `everything` stands for a loss of events.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._directories: dict[str, bool] = {}
        self._everything = False

    def add(self, directory: str, *, structural: bool) -> None:
        """Marks a directory."""
        with self._lock:
            self._directories[directory] = self._directories.get(directory, False) or structural
            if len(self._directories) > _MANY:
                self._directories.clear()
                self._everything = True
        self._wake()

    def all(self) -> None:
        """Marks everything."""
        with self._lock:
            self._everything = True
            self._directories.clear()
        self._wake()

    def __len__(self) -> int:
        return len(self._directories) + self._everything

    def take(self) -> tuple[dict[str, bool], bool]:
        """What is dirty, and whether everything is; clean afterwards."""
        with self._lock:
            taken, self._directories = self._directories, {}
            everything, self._everything = self._everything, False
        return taken, everything


class Watcher:
    """Watches directories recursively and marks what changes in `dirt`."""

    def __init__(self, dirt: Dirt, beat_directory: Path | None = None) -> None:
        self._dirt = dirt
        self._beat_directory = beat_directory
        self._beat_seen = threading.Event()
        self._wanted: set[str] = set()
        self._blind: dict[str, str] = {}
        self._observer: Any = None
        self._watches: dict[str, Any] = {}
        self._lock = threading.RLock()
        self.overflows = 0
        self.restarts = 0

    @property
    def state(self) -> str:
        """`watching`, or `polling` when events do not come and only the full looks see changes."""
        return "watching" if self._observer is not None and self._observer.is_alive() else "polling"

    @property
    def blind(self) -> dict[str, str]:
        """Directories that could not be watched, with the reason."""
        return dict(self._blind)

    def start(self) -> None:
        """Starts watching; where the system refuses, `state` says so and nothing is raised."""
        with self._lock:
            self._start()

    def watch(self, directories: Iterable[str]) -> set[str]:
        """Makes these the watched directories; returns those that are watched from now on and were not before."""
        with self._lock:
            wanted = set(directories)
            for path in self._watches.keys() - wanted:
                watch = self._watches.pop(path)
                with contextlib.suppress(Exception):
                    self._observer.unschedule(watch)
            for path in list(self._blind):
                if path not in wanted:
                    del self._blind[path]
            self._wanted = wanted
            return {path for path in sorted(wanted - self._watches.keys()) if self._schedule(path)}

    def again(self, directory: str) -> None:
        """Watches a directory anew: another one may stand in its place."""
        with self._lock:
            watch = self._watches.pop(directory, None)
            if watch is not None:
                with contextlib.suppress(Exception):
                    self._observer.unschedule(watch)
            if directory in self._wanted:
                self._schedule(directory)

    def beat(self, wait_s: float = 5.0) -> bool:
        """Writes into a watched directory of ours and waits for the event; False when none comes."""
        if self._beat_directory is None:
            return self.state == "watching"
        self._beat_seen.clear()
        try:
            (self._beat_directory / _BEAT).write_text(f"{time.time()}\n", encoding="ascii")
        except OSError:
            # A full disk of ours says nothing about the watcher.
            return self.state == "watching"
        return self._beat_seen.wait(wait_s)

    def restart(self) -> None:
        """Throws all watches away and starts anew."""
        with self._lock:
            self.restarts += 1
            self._stop()
            self._start()

    def close(self) -> None:
        """Stops all threads; may be called twice."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        self._blind.clear()
        try:
            self._observer = Observer(timeout=60)
            fd = getattr(self._observer, "_inotify_fd", None)
            if fd is not None:
                self._guard(fd)
            self._observer.start()
        except OSError as error:
            self._observer = None
            log.warning("changes cannot be watched (%s); the periodic look has to do", error)
            return
        if self._beat_directory is not None:
            self._beat_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                self._observer.schedule(
                    _Beat(self._beat_seen), str(self._beat_directory), event_filter=[FileClosedEvent]
                )
        for path in sorted(self._wanted):
            self._schedule(path)

    def _stop(self) -> None:
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is not None and observer.is_alive():
            observer.stop()
            observer.join(5)

    def _schedule(self, path: str) -> bool:
        if self._observer is None:
            return False
        try:
            watch = self._observer.schedule(_Handler(self._dirt), path, recursive=True, event_filter=_KINDS)
        except OSError as error:
            self._blind[path] = error.strerror or str(error)
            return False
        self._watches[path] = watch
        return True

    def fill(self) -> None:
        """Watches directories that were made while events were lost, or refused before."""
        with self._lock:
            if self._observer is None:
                return
            self._blind.clear()
            for emitter in list(self._observer.emitters):
                group = getattr(emitter, "_inotify", None)
                if group is None or not group.is_recursive:
                    continue
                for directory, _, _ in os.walk(group.path):
                    with group._lock:
                        if directory not in group._active_callbacks_by_path:
                            group._add_callback(directory)

    def _guard(self, fd: Any) -> None:
        """Takes over what the library would do by itself when the kernel drops events or refuses a watch.

        Its way to recover from an overflow removes and adds all watches, which overflows the queue again; a look at the
        disk and `fill` reach the same end. A directory that it cannot watch it passes over in silence.
        """
        handle, add = fd.handle_event, fd.add_callback

        def handle_or_tell(event: Any) -> None:
            if event.is_queue_overflow:
                self.overflows += 1
                self._dirt.all()
            else:
                handle(event)

        def add_or_tell(path: bytes, *arguments: Any) -> Any:
            try:
                return add(path, *arguments)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EACCES, errno.EMFILE):
                    self._blind[os.fsdecode(path)] = error.strerror or str(error)
                raise

        fd.handle_event, fd.add_callback = handle_or_tell, add_or_tell


class _Handler(FileSystemEventHandler):
    """Marks what an event speaks of. Never raises: an exception would end the thread that all events come through."""

    def __init__(self, dirt: Dirt) -> None:
        self._dirt = dirt

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            for raw in (event.src_path, event.dest_path):
                path = os.fsdecode(raw)
                if path:
                    self._mark(path, event.is_directory)
        except Exception:  # noqa: BLE001
            self._dirt.all()

    def _mark(self, path: str, is_directory: bool) -> None:
        if is_directory:
            self._dirt.add(path, structural=True)
            return
        directory, name = os.path.split(path)
        if is_temporary(name) or name in _TELLS_NOTHING:
            return
        structural = name == "run.json" or os.path.splitext(name)[1].lower() in formats.SUFFIXES
        self._dirt.add(directory, structural=structural)


class _Beat(FileSystemEventHandler):
    def __init__(self, seen: threading.Event) -> None:
        self._seen = seen

    def dispatch(self, event: FileSystemEvent) -> None:
        self._seen.set()
