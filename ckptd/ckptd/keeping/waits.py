"""How long each thing has lain in its trash, by time that has certainly passed.

No wall clock tells it: one that is wrong at the start would purge everything. What counts is the time since this daemon
or one before it first saw an entry: their own, and that between two daemons of one start of the machine. While the
machine was off nothing is counted, and what is forgotten is counted anew: an entry may go late, and never early.

waits.json  {"format": 1, "boot": …, "steady": …, "counted": …, "since": [{"path": …, "entries": {ID: …}}]}
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.encoding import number_from_disk, path_fields, path_from_fields
from ckpt.trash import TrashEntry
from ckptd.keeping.clock import steady
from ckptd.roots.identity import boot

FORMAT = 1
SAVED_S = 600.0  # of what is counted, as much is lost at most where the machine stops suddenly
ABSENT_S = 90 * 86400.0  # a trash whose disk is away is remembered so long


class Waits:
    """What waits, by trash and entry. With `path` None nothing outlives this object."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._steady = steady()
        self._counted = 0.0
        self._since: dict[str, dict[str, float]] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            self._read()
        self._saved_at = self._counted
        self._is_saved = True

    def due(self, trash: str, entries: Iterable[TrashEntry]) -> list[TrashEntry]:
        """Those of the entries of a trash that have waited as long as they have to, the oldest first.

        `trash` is the path of the trash, `entries` is all that lies in it. Whatever is new begins to wait.
        """
        lying = sorted(entries, key=lambda entry: (entry.trashed_at, entry.id))
        waited = self.waited(trash, lying)
        return [entry for entry in lying if waited[entry.id] >= entry.purge_at - entry.trashed_at]

    def waited(self, trash: str, entries: Iterable[TrashEntry]) -> dict[str, float]:
        """How many seconds each of the entries of a trash has certainly waited, by their ids; as for `due`."""
        now, known = self._now(), self._since.get(trash, {})
        since = {entry.id: known.get(entry.id, now) for entry in entries}
        if since != known:
            self._is_saved = False
            self._since[trash] = since
        if not since:
            self._since.pop(trash, None)
        return {name: now - at for name, at in since.items()}

    def save(self, trashes: Iterable[str]) -> None:
        """Keeps what changed, and now and then how far it is counted. `trashes` are the paths of those that exist."""
        now = self._now()
        for absent in self._since.keys() - set(trashes):
            if now - max(self._since[absent].values(), default=0.0) > ABSENT_S:
                del self._since[absent]
                self._is_saved = False
        if self._is_saved and (not self._since or now - self._saved_at < SAVED_S):
            return
        # What cannot be written goes on in memory; lost, it makes things wait longer.
        with contextlib.suppress(OSError):
            self._write()

    def close(self) -> None:
        """Keeps how far it is counted."""
        if self._since:
            with contextlib.suppress(OSError):
                self._write()

    def _now(self) -> float:
        """Seconds that were counted since there is a count."""
        at = steady()
        self._counted += max(0.0, at - self._steady)
        self._steady = at
        return self._counted

    def _read(self) -> None:
        if self._path is None:
            return
        raw = files.read_json(self._path)
        if raw["format"] != FORMAT:
            return
        counted, then = _number(raw["counted"]), _number(raw["steady"])
        since = {
            path_from_fields(trash): {str(entry): _number(at) for entry, at in trash["entries"].items()}
            for trash in raw["since"]
        }
        if raw["boot"] and raw["boot"] == boot():
            counted += max(0.0, self._steady - then)
        # No entry was first seen later than all that was counted.
        self._since = {trash: {e: min(at, counted) for e, at in known.items()} for trash, known in since.items()}
        self._counted = counted

    def _write(self) -> None:
        now = self._now()
        if self._path is not None:
            files.write_json(
                self._path,
                {
                    "format": FORMAT,
                    "boot": boot(),
                    "steady": self._steady,
                    "counted": now,
                    "since": [{**path_fields(trash), "entries": known} for trash, known in self._since.items()],
                },
                mode=0o600,
            )
        self._saved_at, self._is_saved = now, True


def _number(value: Any) -> float:
    number = float(number_from_disk(value))
    if not math.isfinite(number):
        raise ValueError(f"not a number of seconds: {value!r}")
    return number
