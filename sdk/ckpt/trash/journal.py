"""The trash's journal: every act is a line before it begins and a line after it ended.

    {"v": 1, "at": …, "op": "remove", "id": …, "entry": {…}}   begun; the entry is complete in it
    {"v": 1, "at": …, "op": "removed" | "undone", "id": …}     all files are in the trash | back again
    {"v": 1, "at": …, "op": "restore", "id": …}                begun
    {"v": 1, "at": …, "op": "restored" | "kept", "id": …}      all files are back | still in the trash
    {"v": 1, "at": …, "op": "purge" | "purged", "id": …}       begun | gone

Lines of another version, and lines that a crash tore, are passed over. All lines are kept, for they tell the history of
runs; `settled` holds the size up to which no act is open, so that a long journal is not read again for each act.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ckpt import files

Op = Literal["remove", "removed", "undone", "restore", "restored", "kept", "purge", "purged"]
BEGUN: frozenset[str] = frozenset({"remove", "restore", "purge"})
"""Acts that a line of another kind has to follow."""

VERSION = 1
RESERVE_BYTES = 64 << 10
SETTLED_BYTES = 256 << 10
"""As much is read at most, but for open acts, before an act."""
SPARES = 7
"""Empty files beside the reserve: on some file systems the number of files is what runs out."""
FULL = "the disk is full, to the last byte or file: free a few KB, of an old log for example, then try again"


def is_full(error: OSError) -> bool:
    """Whether an act failed because the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class Journal:
    """The journal of one trash directory, which must exist when a line is written."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.jsonl"
        self.reserve = directory / "reserve"
        self._settled = directory / "settled"

    def begin(self, op: Op, entry_id: str, /, **details: Any) -> None:
        """Writes that an act begins, durable before it returns.

        Raises OSError; then nothing may be moved.
        """
        is_new = not self.path.exists() or not self.path.stat().st_size
        self.with_room(lambda: self._append(op, entry_id, details))
        if is_new:
            files.fsync_directory(self.path.parent)

    def end(self, op: Op, entry_id: str) -> None:
        """Writes that an act ended. A line that cannot be written is left to recovery, which sees it from the files."""
        with contextlib.suppress(OSError):
            self._append(op, entry_id, {})

    def open_acts(self) -> dict[str, str]:
        """Entry id to the act that was begun and of which no end is written."""
        last: dict[str, str] = {}
        for line in self._lines(self._settled_size()):
            last[line["id"]] = line["op"]
        return {entry: op for entry, op in last.items() if op in BEGUN}

    def settle(self) -> None:
        """Remembers that no act is open in all that was written so far, now and then. Needs the trash's lock."""
        with contextlib.suppress(OSError):
            size = self.path.stat().st_size
            if size - self._settled_size() >= SETTLED_BYTES:
                files.write_json(self._settled, {"size": size, "inode": self.path.stat().st_ino}, mode=0o600)

    def entries(self) -> dict[str, Any]:
        """Entry id to the entry as its removal wrote it."""
        return {line["id"]: line.get("entry") for line in self._lines() if line["op"] == "remove"}

    def hold_reserve(self) -> None:
        """Sets bytes and files aside for the day that the disk is full; nothing when they are, or it is full now."""
        with contextlib.suppress(OSError):
            if self.reserve.exists():
                return
            files.atomic_write(self.reserve, os.urandom(RESERVE_BYTES), mode=0o600)
            for spare in self._spares():
                os.close(os.open(spare, os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600))

    def with_room(self, act: Callable[[], None]) -> None:
        """Does something small that may need disk space; on a full disk the reserve is given up for it.

        Raises OSError.
        """
        try:
            act()
        except OSError as error:
            if not is_full(error) or not self.reserve.exists():
                raise
            for held in (self.reserve, *self._spares()):
                held.unlink(missing_ok=True)
            act()

    def _spares(self) -> list[Path]:
        return [self.reserve.with_name(f"{self.reserve.name}.{number}") for number in range(1, SPARES + 1)]

    def _append(self, op: Op, entry_id: str, details: dict[str, Any]) -> None:
        files.append_json(self.path, {"v": VERSION, "at": time.time(), "op": op, "id": entry_id, **details})

    def _settled_size(self) -> int:
        """Bytes at the start in which no act is open; 0 when that is not known of this very file."""
        try:
            info = self.path.stat()
            raw = files.read_json(self._settled, limit=4096)
            size = int(raw["size"])
            return size if raw["inode"] == info.st_ino and 0 <= size <= info.st_size else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _lines(self, offset: int = 0) -> list[dict[str, Any]]:
        return [
            line
            for line in files.read_json_lines(self.path, offset=offset)
            if isinstance(line, dict)
            and line.get("v") == VERSION
            and isinstance(line.get("id"), str)
            and isinstance(line.get("op"), str)
        ]
