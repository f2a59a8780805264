"""Changes as watchdog's own observer tells them: for systems without inotify.

It watches whole trees at once, so what is left out is dropped after the fact, and nothing is blind by itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

_KINDS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]


class Observed:
    """Watches trees and tells what changes in them; `heard` and `lost` are called from the observer's thread."""

    def __init__(self, heard: Callable[[str, str, bool], None], lost: Callable[[bool], None]) -> None:
        """`heard` gets the directory, the entry in it ("" for the directory itself) and whether that is a directory.

        `lost` is called when events are known to be lost; no overflow is known here, so it is told False.
        """
        self._heard = heard
        self._lost = lost
        self._trees: dict[str, tuple[Any, _Handler]] = {}
        self._blind: dict[str, str] = {}
        self._observer = Observer(timeout=60)
        self._observer.start()

    @property
    def alive(self) -> bool:
        """Whether the observer's threads live."""
        return self._observer.is_alive() and all(emitter.is_alive() for emitter in self._observer.emitters)

    @property
    def watches(self) -> int:
        """Watched trees."""
        return len(self._trees)

    @property
    def blind(self) -> dict[str, str]:
        """Trees that cannot be watched, with the reason."""
        return dict(self._blind)

    @property
    def roots(self) -> set[str]:
        """The trees, without those that were refused."""
        return set(self._trees)

    def watch(self, root: str, left_out: Callable[[str], bool]) -> bool:
        """Watches a tree anew; False when that is refused."""
        self.unwatch(root)
        handler = _Handler(root, left_out, self._heard, self._lost)
        try:
            watch = self._observer.schedule(handler, root, recursive=True, event_filter=_KINDS)
        except OSError as error:
            self._blind[root] = error.strerror or str(error)
            return False
        self._trees[root] = (watch, handler)
        return True

    def leave_out(self, root: str, left_out: Callable[[str], bool]) -> None:
        """From now on other directories are left out."""
        if root in self._trees:
            self._trees[root][1].left_out = left_out

    def unwatch(self, root: str) -> None:
        """Lets a tree go."""
        self._blind.pop(root, None)
        tree = self._trees.pop(root, None)
        if tree is not None:
            with contextlib.suppress(KeyError, OSError):
                self._observer.unschedule(tree[0])

    def fill(self) -> None:
        """Nothing: whole trees are watched."""

    def poll(self) -> None:
        """Tells refused trees as changed: only a look can say more."""
        for root in list(self._blind):
            self._heard(root, "", True)

    def close(self) -> None:
        """Ends all threads."""
        self._trees.clear()
        self._observer.stop()
        self._observer.join(5)


class _Handler(FileSystemEventHandler):
    """Tells what an event speaks of. Never raises: an exception would end the thread that all events come through."""

    def __init__(
        self,
        root: str,
        left_out: Callable[[str], bool],
        heard: Callable[[str, str, bool], None],
        lost: Callable[[bool], None],
    ) -> None:
        self._root = root
        self.left_out = left_out
        self._heard = heard
        self._lost = lost

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            for raw in (event.src_path, event.dest_path):
                path = os.fsdecode(raw)
                if path and not self._covers(path if event.is_directory else os.path.dirname(path)):
                    self._heard(os.path.dirname(path), os.path.basename(path), event.is_directory)
        except Exception:  # noqa: BLE001
            self._lost(False)

    def _covers(self, directory: str) -> bool:
        """Whether a directory or one above it, below the root, is left out."""
        while len(directory) > len(self._root):
            if self.left_out(directory):
                return True
            directory = os.path.dirname(directory)
        return False
