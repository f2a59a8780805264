"""After a crash: every act that was begun is finished, or taken back, so that each file is in exactly one place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from ckpt import files
from ckpt.encoding import printable
from ckpt.trash.entries import ENTRY_ID, TrashEntry
from ckpt.trash.journal import Journal
from ckpt.trash.moves import PURGING, Moves

Read = Callable[[str], TrashEntry | None]
"""The entry of an id as the journal wrote it at its removal."""


def recover(journal: Journal, moves: Moves, read: Read) -> list[str]:
    """Finishes or takes back all open acts; returns what was done, a sentence each. Needs the trash's lock.

    What cannot be done now is said too, and stays open for the next time.
    """
    said: list[str] = []
    files.sweep_temporaries(moves.trash)
    open_acts = journal.open_acts()
    with os.scandir(moves.trash) as found:
        names = {entry.name.removesuffix(PURGING) for entry in found if entry.name.endswith(PURGING)}
    wasted = {name for name in names if ENTRY_ID.fullmatch(name)}
    for entry_id in sorted(wasted | set(open_acts)):
        op = "purge" if entry_id in wasted else open_acts[entry_id]
        try:
            said += _settle(op, entry_id, entry_id in wasted, journal, moves, read)
        except OSError as error:
            said.append(f"entry {entry_id}: its {op} cannot be finished now: {error.strerror or error}")
    if not wasted and not open_acts:
        journal.settle()
    return said


def _settle(op: str, entry_id: str, is_waste: bool, journal: Journal, moves: Moves, read: Read) -> list[str]:
    if op == "purge":
        return _settle_purge(entry_id, is_waste, journal, moves)
    entry = read(entry_id)
    if entry is None:
        return [f"entry {entry_id}: its {op} is of another version and was left alone"]
    name = printable(entry.path)
    if op == "remove":
        return [_settle_removal(entry, journal, moves).format(name)]
    return [_settle_restore(entry, journal, moves).format(name)]


def _settle_purge(entry_id: str, is_waste: bool, journal: Journal, moves: Moves) -> list[str]:
    if is_waste:
        moves.delete_purging(entry_id)
        journal.end("purged", entry_id)
        return [f"entry {entry_id}: the purge was finished"]
    if (moves.trash / entry_id).exists():
        journal.end("kept", entry_id)
        return [f"entry {entry_id}: the purge had not begun and the entry is kept"]
    journal.end("purged", entry_id)
    return []


def _settle_removal(entry: TrashEntry, journal: Journal, moves: Moves) -> str:
    rest = [item for item in entry.items if not moves.in_trash(entry, item)]
    if len(rest) == len(entry.items):
        # Nothing moved yet, and what the user wants may have changed since: the next plan decides.
        moves.clear(entry)
        journal.end("undone", entry.id)
        return "{}: the removal had moved nothing and was taken back"
    if all(moves.is_home(item) for item in rest):
        moves.send(entry, rest)
        with contextlib.suppress(OSError):
            moves.describe(entry)
        journal.end("removed", entry.id)
        return "{}: the removal was finished"
    moved = [item for item in reversed(entry.items) if item not in rest]
    if any(moves.at_home(item) is not None for item in moved):
        journal.end("removed", entry.id)
        return "{}: other files have its names now, and what of it had been removed is kept in the trash"
    moves.bring(entry, moved)
    moves.clear(entry)
    journal.end("undone", entry.id)
    return "{}: a part of it had changed meanwhile, and the removal was taken back"


def _settle_restore(entry: TrashEntry, journal: Journal, moves: Moves) -> str:
    waiting = [item for item in reversed(entry.items) if moves.in_trash(entry, item)]
    if len(waiting) == len(entry.items):
        journal.end("kept", entry.id)
        return "{}: the restore had moved nothing and the entry is kept"
    if any(moves.at_home(item) is not None for item in waiting):
        back = [item for item in entry.items if item not in waiting and item.is_same(moves.at_home(item))]
        moves.send(entry, back)
        journal.end("kept", entry.id)
        return "{}: the restore met a name that is taken and was taken back"
    moves.bring(entry, waiting)
    moves.clear(entry)
    journal.end("restored", entry.id)
    return "{}: the restore was finished"
