"""Kernel watches on trees of directories (Linux): one for every directory that is not left out.

Of watchdog only the reader of the kernel's queue is used. Its own recursive watches cannot leave directories out, pass
over in silence what the kernel refuses, hold events back for half a second after a file left the tree, and recover from
an overflow by removing and adding all watches, which overflows the queue again.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, Mask, WatchDescriptor
from watchdog.observers.inotify_c import InotifyConstants as Kernel

log = logging.getLogger("ckptd.watcher")

_MASK = Mask(
    Kernel.IN_CLOSE_WRITE
    | Kernel.IN_CREATE
    | Kernel.IN_DELETE
    | Kernel.IN_MOVE
    | Kernel.IN_DELETE_SELF
    | Kernel.IN_MOVE_SELF
    | Kernel.IN_ONLYDIR
    | Kernel.IN_EXCL_UNLINK
)
_BELOW = Mask(_MASK | Kernel.IN_DONT_FOLLOW)
_APPEARED = Kernel.IN_CREATE | Kernel.IN_MOVED_TO
_SELF = Kernel.IN_DELETE_SELF | Kernel.IN_MOVE_SELF | Kernel.IN_UNMOUNT
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_EXHAUSTED = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_RIGHTS = frozenset({errno.EACCES, errno.EPERM})
_REASONS = {
    errno.ENOSPC: "the limit of inotify watches is reached",
    errno.EMFILE: "too many open files in this process",
    errno.ENFILE: "too many open files on this machine",
}
_FRESH_NS = 2_000_000_000  # a directory that changed this recently may change again without another mtime

Signature = tuple[int, ...]
"""Device, inode, mtime and ctime (nanoseconds) of a directory; the error's number where it is out of reach."""


@dataclass(eq=False, slots=True)
class _Directory:
    """One directory of a tree. `wd` is None while it cannot be watched."""

    tree: Tree
    path: str
    wd: WatchDescriptor | None
    key: CallbackId
    children: set[str] | None = None


@dataclass(slots=True)
class _Blind:
    """A directory that cannot be watched or listed, and what it looked like when it was last looked at."""

    number: int
    seen: Signature | None


@dataclass(eq=False, slots=True)
class Tree:
    """A watched directory with all below it that is not left out."""

    root: str
    left_out: Callable[[str], bool]
    directories: dict[str, _Directory] = field(default_factory=dict)
    blind: dict[str, _Blind] = field(default_factory=dict)


class Inotify:
    """Watches trees and tells what changes in them. Every method may be called from any thread.

    `heard` is called for each change and `lost` when events are known to be lost, both from the thread that reads the
    queue. Raises OSError when the kernel gives no queue.
    """

    def __init__(self, heard: Callable[[str, str, bool], None], lost: Callable[[bool], None]) -> None:
        """`heard` gets the directory, the entry in it ("" for the directory itself) and whether that is a directory.

        `lost` is told whether it was an overflow of the kernel's queue.
        """
        self._heard = heard
        self._lost = lost
        self._lock = threading.RLock()
        self._keys = itertools.count(1)
        self._trees: dict[str, Tree] = {}
        self._by_wd: dict[WatchDescriptor, list[_Directory]] = {}
        self._closed = False
        _check_descriptors()
        self._reader = InotifyFD()
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the thread that reads the queue lives."""
        return self._reader.is_alive()

    @property
    def watches(self) -> int:
        """Kernel watches in use."""
        return len(self._by_wd)

    @property
    def blind(self) -> dict[str, str]:
        """Directories that cannot be watched or listed, with the reason."""
        with self._lock:
            return {
                path: _REASONS.get(blind.number) or os.strerror(blind.number)
                for tree in self._trees.values()
                for path, blind in tree.blind.items()
            }

    @property
    def roots(self) -> set[str]:
        """The trees; one whose root was removed, renamed or unmounted is not among them any more."""
        with self._lock:
            return set(self._trees)

    def watch(self, root: str, left_out: Callable[[str], bool]) -> bool:
        """Watches a tree anew; False when its root is blind."""
        self.unwatch(root)
        tree = Tree(root, left_out)
        with self._lock:
            self._trees[root] = tree
        self._explore(tree, root)
        return root not in tree.blind

    def leave_out(self, root: str, left_out: Callable[[str], bool]) -> None:
        """From now on other directories are left out; what is watched already stays so."""
        with self._lock:
            if root in self._trees:
                self._trees[root].left_out = left_out

    def unwatch(self, root: str) -> None:
        """Lets a tree go."""
        with self._lock:
            tree = self._trees.pop(root, None)
            if tree is not None:
                self._drop(tree, root)

    def fill(self) -> None:
        """Compares all trees with the disk: watches what is not watched, lets go what is gone."""
        for tree in self._all():
            self._explore(tree, tree.root, all_anew=True)

    def poll(self) -> None:
        """Looks at blind directories, one stat each: tells the changed ones and tries to watch them again."""
        exhausted: set[int] = set()
        for tree in self._all():
            for path, blind in list(tree.blind.items()):
                self._poll(tree, path, blind, exhausted)

    def close(self) -> None:
        """Lets everything go and ends the thread."""
        with self._lock:
            self._closed = True
            self._trees.clear()
            self._by_wd.clear()
        self._reader.stop()
        if self._reader is not threading.current_thread():
            self._reader.join(5)

    # What the reader of the queue calls. An exception would end its thread.

    def on_event(self, event: InotifyEvent) -> None:
        try:
            with self._lock:
                concerned = list(self._by_wd.get(event.wd, ()))
            for directory in concerned:
                self._take(directory, event)
        except Exception:  # noqa: BLE001
            self._stumble()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        try:
            with self._lock:
                concerned = [] if self._closed else list(self._by_wd.get(wd, ()))
            for directory in concerned:
                self._unseated(directory)
        except Exception:  # noqa: BLE001
            self._stumble()

    def on_queue_overflow(self) -> None:
        log.warning("the kernel dropped events; everything is looked at")
        self._lost(True)

    def _stumble(self) -> None:
        log.exception("an event could not be taken; everything is looked at")
        self._lost(False)

    def _take(self, directory: _Directory, event: InotifyEvent) -> None:
        if not event.name:
            if event.mask & _SELF:
                self._unseated(directory)
            return
        name = os.fsdecode(event.name)
        if not event.mask & Kernel.IN_ISDIR:
            self._heard(directory.path, name, False)
            return
        tree, path = directory.tree, os.path.join(directory.path, name)
        if tree.left_out(path):
            return
        if event.mask & _APPEARED:
            self._explore(tree, path)
        else:
            with self._lock:
                self._drop(tree, path)
        self._heard(directory.path, name, True)

    def _unseated(self, directory: _Directory) -> None:
        """The kernel watches it no more, or under another name: removed, renamed, unmounted."""
        tree, path = directory.tree, directory.path
        with self._lock:
            if tree.directories.get(path) is not directory:
                return
            self._drop(tree, path)
            if path == tree.root and self._trees.get(path) is tree:
                del self._trees[path]
        if path != tree.root and os.path.isdir(path):
            self._explore(tree, path)
        self._heard(path, "", True)

    # Watching

    def _all(self) -> list[Tree]:
        with self._lock:
            return list(self._trees.values())

    def _explore(self, tree: Tree, top: str, *, all_anew: bool = False) -> None:
        """Watches a directory and all below it that are not watched yet; with `all_anew` checks those that are."""
        stack = [top]
        while stack:
            path = stack.pop()
            added = self._hold(tree, path)
            if added or (added is not None and (all_anew or path == top)):
                stack += self._list(tree, path)

    def _hold(self, tree: Tree, path: str) -> bool | None:
        """Has the kernel watch a directory: True when it is new to us, None when it is not there."""
        with self._lock:
            is_root = path == tree.root
            parent = None if is_root else tree.directories.get(os.path.dirname(path))
            if self._closed or self._trees.get(tree.root) is not tree or (parent is None and not is_root):
                return None
            held = tree.directories.get(path)
            key = CallbackId(next(self._keys))
            wd, number = self._add(os.fsencode(path), _MASK if is_root else _BELOW, key)
            if number in _VANISHED and not is_root:
                self._drop(tree, path)
                return None
            if held is not None and held.wd == wd:
                if wd is None:
                    _note(tree, path, number)
                else:
                    self._remove([(wd, key)])
                return False
            self._drop(tree, path)
            directory = _Directory(tree, path, wd, key)
            tree.directories[path] = directory
            if parent is not None:
                parent.children = parent.children or set()
                parent.children.add(path)
            if wd is None:
                _note(tree, path, number)
            else:
                self._by_wd.setdefault(wd, []).append(directory)
            return True

    def _list(self, tree: Tree, path: str) -> list[str]:
        """Subdirectories that are not left out; those that are gone are let go."""
        left_out, found = tree.left_out, []
        with self._lock:
            known = tree.directories.get(path)
            before = {child: tree.directories[child] for child in (known and known.children) or ()}
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) and not left_out(entry.path):
                        found.append(entry.path)
        except OSError as error:
            with self._lock:
                if error.errno in _VANISHED and path != tree.root:
                    self._drop(tree, path)
                elif path in tree.directories:
                    _note(tree, path, error.errno or errno.EIO)
            return []
        with self._lock:
            directory = tree.directories.get(path)
            if directory is None:
                return []
            if directory.wd is not None:
                tree.blind.pop(path, None)
            # One that came since is not among `found`, and is told by its own event.
            for gone in before.keys() - set(found):
                if tree.directories.get(gone) is before[gone]:
                    self._drop(tree, gone)
        return found

    def _poll(self, tree: Tree, path: str, blind: _Blind, exhausted: set[int]) -> None:
        seen, gone = _signature(path)
        if gone and path != tree.root:
            with self._lock:
                self._drop(tree, path)
            self._heard(path, "", True)
            return
        changed = seen is None or seen != blind.seen
        blind.seen = seen
        # Rights change with the directory; a disk that failed may be well again without a sign.
        if changed or blind.number not in exhausted | _RIGHTS:
            added = self._hold(tree, path)
            directory = tree.directories.get(path)
            if changed or added or (directory is not None and directory.wd is not None):
                for child in self._list(tree, path):
                    if child not in tree.directories:
                        self._explore(tree, child)
                if changed or added or path not in tree.blind:
                    self._heard(path, "", True)
            still = tree.blind.get(path)
            if still is not None and still.number in _EXHAUSTED:
                exhausted.add(still.number)

    def _drop(self, tree: Tree, top: str) -> None:
        """Lets a directory and all below it go. The lock is held."""
        directory = tree.directories.get(top)
        if directory is None or self._closed:
            return
        parent = tree.directories.get(os.path.dirname(top))
        if parent is not None and parent.children is not None:
            parent.children.discard(top)
        removed: list[tuple[WatchDescriptor, CallbackId]] = []
        stack = [directory]
        while stack:
            directory = stack.pop()
            stack += [tree.directories[path] for path in directory.children or ()]
            del tree.directories[directory.path]
            tree.blind.pop(directory.path, None)
            if directory.wd is not None:
                removed.append((directory.wd, directory.key))
                others = self._by_wd[directory.wd]
                others.remove(directory)
                if not others:
                    del self._by_wd[directory.wd]
        self._remove(removed)

    def _add(self, path: bytes, mask: Mask, key: CallbackId) -> tuple[WatchDescriptor | None, int]:
        """Asks the kernel for a watch; None and the error's number when it refuses."""
        try:
            wd = self._reader.add_callback(path, mask, self, key)
        except OSError as error:
            return None, error.errno or errno.EIO
        if wd == -1:
            # So the library reports a directory that may not be read.
            self._remove([(wd, key)])
            return None, errno.EACCES
        return wd, 0

    def _remove(self, callbacks: list[tuple[WatchDescriptor, CallbackId]]) -> None:
        try:
            self._reader.remove_callbacks(callbacks)
        except OSError as error:
            log.debug("a watch could not be removed: %s", error)


def _note(tree: Tree, path: str, number: int) -> None:
    """Marks a directory as blind. What it looked like before stays: only a look may change that."""
    blind = tree.blind.get(path)
    if blind is None:
        tree.blind[path] = _Blind(number, _signature(path)[0])
    else:
        blind.number = number


def _signature(path: str) -> tuple[Signature | None, bool]:
    """What a directory looks like, and whether it is gone; None when a later change might look the same."""
    try:
        info = os.lstat(path)
    except OSError as error:
        return (error.errno or errno.EIO,), error.errno in _VANISHED
    if abs(time.time_ns() - info.st_mtime_ns) < _FRESH_NS:
        return None, False
    return (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns), False


def _check_descriptors() -> None:
    """Raises OSError when there are not enough descriptors for a queue: the library would leak those it got."""
    taken: list[int] = []
    try:
        taken += os.pipe()
        taken.append(os.dup(taken[0]))
    finally:
        for number in taken:
            os.close(number)
