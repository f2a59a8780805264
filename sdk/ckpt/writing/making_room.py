"""Room on a full disk, made of what the run itself has in its trash: oldest first, and no more than is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckpt.trash import Trash, TrashEntry


def enough(entries: Iterable[TrashEntry], missing: int | None) -> Sequence[TrashEntry]:
    """The oldest entries that free so many bytes; none when all of them do not. Pure.

    Where nobody knows what is missing, as with a quota, it is the oldest alone: it may do.
    """
    chosen: list[TrashEntry] = []
    for entry in sorted(entries, key=lambda entry: (entry.trashed_at, entry.id)):
        if entry.frees > 0:
            chosen.append(entry)
            if missing is None or (missing := missing - entry.frees) <= 0:
                return chosen
    return ()


def make_room(trash: Trash, missing: int | None) -> int:
    """Purges what is enough, and returns how many entries that was. Raises CkptError, OSError."""
    chosen = enough(trash.entries(), missing)
    for entry in chosen:
        trash.purge(entry.id)
    return len(chosen)
