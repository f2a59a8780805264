"""The renames between where a checkpoint was and its directory in the trash."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from ckpt import files, paths
from ckpt.trash.entries import Item, TrashEntry, entry_to_disk
from ckpt.trash.folder import Folder, delete_tree, opened
from ckpt.trash.stamps import Stamp, stamp_at

ENTRY_FILE = "entry.json"
PURGING = ".purging"
"""Suffix of an entry's directory from the moment on that it is being deleted."""


class Moves:
    """Moves the files of entries out of a base directory and back. Every method raises OSError.

    The trash lies in `base` or beside it, or beside where that was before it was renamed. Below `base`, and from what
    holds both on, no symbolic link is followed, and no name that is taken is overwritten.
    """

    def __init__(self, base: Path, trash: Path) -> None:
        self.base = base
        self.trash = trash
        self._anchor = Path(os.path.commonpath((base, trash)))
        self._parts = trash.relative_to(self._anchor).parts

    def open_trash(self, *, create: bool = False) -> AbstractContextManager[Folder]:
        """The trash directory."""
        return opened(self._anchor, self._parts, create=create)

    def make(self, entry: TrashEntry) -> None:
        """Makes the directories of an entry, durable and empty. May be repeated."""
        for parts in dict.fromkeys(item.parts for item in entry.items):
            with self._shelf(entry, parts, create=True):
                pass

    def describe(self, entry: TrashEntry) -> None:
        """Writes what the entry is beside its files."""
        files.write_json(self.trash / entry.id / ENTRY_FILE, entry_to_disk(entry))

    def at_home(self, item: Item) -> os.stat_result | None:
        """What is where the item was; None when nothing is."""
        try:
            with opened(self.base, item.parts) as home:
                return home.look(item.last)
        except FileNotFoundError:
            return None

    def is_home(self, item: Item) -> bool:
        """Whether what is where the item was is the item, with all that was in it."""
        try:
            with opened(self.base, item.parts) as home:
                is_same = item.is_same(home.look(item.last))
                return is_same and (not item.digest or stamp_at(home, item.last).digest == item.digest)
        except FileNotFoundError:
            return False

    def in_trash(self, entry: TrashEntry, item: Item) -> bool:
        """Whether the item lies in the entry's directory."""
        try:
            with self._shelf(entry, item.parts) as shelf:
                return shelf.look(item.last) is not None
        except FileNotFoundError:
            return False

    def send(self, entry: TrashEntry, items: Iterable[Item], stamps: Mapping[str, Stamp] | None = None) -> None:
        """Moves items into the entry's directory, in the given order, durable before it returns.

        An item that is not what the entry says is left alone, and OSError (ESTALE) raised. `stamps`, by the items'
        names, are compared for all of them before the first rename, and again after the last.
        """
        items = tuple(items)
        if stamps is not None:
            for item in items:
                with opened(self.base, item.parts) as home:
                    _compare(home, item, stamps)
        touched: dict[tuple[str, ...], None] = {}
        for item in items:
            with opened(self.base, item.parts) as home, self._shelf(entry, item.parts) as shelf:
                if not item.is_same(home.look(item.last)):
                    raise _changed(home, item)
                home.move(item.last, shelf)
            touched[item.parts] = None
        self._sync(entry, touched)
        for item in items:
            with self._shelf(entry, item.parts) as shelf:
                if not item.is_same(shelf.look(item.last)):
                    raise _changed(shelf, item)
                if stamps is not None:
                    _compare(shelf, item, stamps)

    def bring(self, entry: TrashEntry, items: Iterable[Item]) -> None:
        """Moves items back to where they were, in the given order, durable before it returns."""
        touched: dict[tuple[str, ...], None] = {}
        for item in items:
            with self._shelf(entry, item.parts) as shelf, opened(self.base, item.parts, create=True) as home:
                shelf.move(item.last, home)
            touched[item.parts] = None
        self._sync(entry, touched)

    def clear(self, entry: TrashEntry) -> None:
        """Removes the directory of an entry whose files are gone from it; what is not ours stays."""
        with self.open_trash() as trash:
            if trash.look(entry.id) is None:
                return
            folder = trash.below(entry.id)
            try:
                for name in set(folder.names()) - {item.name for item in entry.items}:
                    if name == ENTRY_FILE or paths.TEMPORARY.match(name):
                        folder.unlink(name)
            finally:
                folder.close()
            inner = {item.parts[:depth] for item in entry.items for depth in range(1, len(item.parts) + 1)}
            for parts in sorted(inner, key=len, reverse=True):
                with (
                    contextlib.suppress(FileNotFoundError),
                    self._shelf(entry, parts[:-1]) as outer,
                ):
                    outer.remove_empty(parts[-1])
            trash.remove_empty(entry.id)
            trash.sync()

    def mark_purging(self, entry_id: str) -> None:
        """From here on the entry is no entry any more but waste."""
        with self.open_trash() as trash:
            trash.move(entry_id, trash, entry_id + PURGING)
            trash.sync()

    def delete_purging(self, entry_id: str) -> int:
        """Deletes what `mark_purging` named; returns the bytes that are free then."""
        name = entry_id + PURGING
        with self.open_trash() as trash:
            folder = trash.below(name)
            try:
                folder.unlink(ENTRY_FILE)  # its bytes were never the checkpoint's
            finally:
                folder.close()
            freed = delete_tree(trash, name)
            trash.sync()
            return freed

    def _shelf(
        self, entry: TrashEntry, parts: tuple[str, ...], *, create: bool = False
    ) -> AbstractContextManager[Folder]:
        """A directory inside that of an entry."""
        return opened(self._anchor, (*self._parts, entry.id, *parts), create=create)

    def _sync(self, entry: TrashEntry, touched: Iterable[tuple[str, ...]]) -> None:
        for parts in touched:
            with opened(self.base, parts) as home:
                home.sync()
            with self._shelf(entry, parts) as shelf:
                shelf.sync()


def _compare(folder: Folder, item: Item, stamps: Mapping[str, Stamp]) -> None:
    if stamp_at(folder, item.last) != stamps.get(item.name):
        raise _changed(folder, item)


def _changed(folder: Folder, item: Item) -> OSError:
    return OSError(errno.ESTALE, "it has changed since", str(folder.path / item.last))
