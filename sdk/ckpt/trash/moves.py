"""The renames between where a checkpoint was and its directory in the trash."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from ckpt import files, paths
from ckpt.trash.entries import Item, TrashEntry, entry_to_disk
from ckpt.trash.folder import Folder, delete_tree, opened

ENTRY_FILE = "entry.json"
PURGING = ".purging"
"""Suffix of an entry's directory from the moment on that it is being deleted."""


class Moves:
    """Moves the files of entries out of a base directory and back. Every method raises OSError.

    Below `base` no symbolic link is followed, and no name that is taken is overwritten.
    """

    def __init__(self, base: Path, trash: Path) -> None:
        self.base = base
        self.trash = trash
        self._parts = trash.relative_to(base).parts

    def open_trash(self, *, create: bool = False) -> AbstractContextManager[Folder]:
        """The trash directory."""
        return opened(self.base, self._parts, create=create)

    def make(self, entry: TrashEntry) -> None:
        """Makes the directory of an entry, durable and empty."""
        with self.open_trash() as trash:
            trash.make(entry.id)

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

    def in_trash(self, entry: TrashEntry, item: Item) -> bool:
        """Whether the item lies in the entry's directory."""
        try:
            with opened(self.base, (*self._parts, entry.id, *item.parts)) as shelf:
                return shelf.look(item.last) is not None
        except FileNotFoundError:
            return False

    def send(self, entry: TrashEntry, items: Iterable[Item]) -> None:
        """Moves items into the entry's directory, in the given order, durable before it returns.

        An item that is not what the entry says is left alone, and OSError (ESTALE) raised.
        """
        touched: dict[tuple[str, ...], None] = {}
        for item in items:
            shelf_parts = (*self._parts, entry.id, *item.parts)
            with opened(self.base, item.parts) as home, opened(self.base, shelf_parts, create=True) as shelf:
                if not item.is_same(home.look(item.last)):
                    raise OSError(errno.ESTALE, "it has changed since", str(home.path / item.last))
                home.move(item.last, shelf)
            touched |= {item.parts: None, shelf_parts: None}
        self._sync(touched)

    def bring(self, entry: TrashEntry, items: Iterable[Item]) -> None:
        """Moves items back to where they were, in the given order, durable before it returns."""
        touched: dict[tuple[str, ...], None] = {}
        for item in items:
            shelf_parts = (*self._parts, entry.id, *item.parts)
            with opened(self.base, shelf_parts) as shelf, opened(self.base, item.parts, create=True) as home:
                shelf.move(item.last, home)
            touched |= {item.parts: None, shelf_parts: None}
        self._sync(touched)

    def clear(self, entry: TrashEntry) -> None:
        """Removes the directory of an entry whose files are gone from it; what is not ours stays."""
        with self.open_trash() as trash:
            if trash.look(entry.id) is None:
                return
            folder = trash.below(entry.id)
            try:
                for name in folder.names():
                    if name == ENTRY_FILE or paths.is_temporary(name):
                        folder.unlink(name)
            finally:
                folder.close()
            inner = {item.parts[:depth] for item in entry.items for depth in range(1, len(item.parts) + 1)}
            for parts in sorted(inner, key=len, reverse=True):
                with (
                    contextlib.suppress(FileNotFoundError),
                    opened(self.base, (*self._parts, entry.id, *parts[:-1])) as outer,
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

    def _sync(self, touched: Iterable[tuple[str, ...]]) -> None:
        for parts in touched:
            with opened(self.base, parts) as folder:
                folder.sync()
