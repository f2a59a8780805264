"""What has to leave the trash before its time, because the disk would otherwise fill. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt.trash import TrashEntry

_SHARE = 100  # one hundredth of the disk stays free …
_PLENTY = 5 << 30  # … or this much
_SAVES = 2  # and room for this many of the largest checkpoints that are written there now


def wanted_free(total: int, needed: int) -> int:
    """Bytes that should be free on a disk of `total` bytes; `needed` are those of the largest recent checkpoint."""
    return max(min(total // _SHARE, _PLENTY), _SAVES * needed)


def due_early(entries: Iterable[TrashEntry], free: int, total: int, needed: int) -> list[TrashEntry]:
    """The entries to purge now although their time has not come, the oldest first; none while enough is free.

    `entries` lie on one disk, and the caller leaves out those of every other: purging them would free nothing here.
    `free` and `total` are bytes of that disk (`samples.room_at` of the trash's directory), `needed` is what
    `cadence.largest` gives for the trainings whose runs lie on it, 0 when none runs. It stops as soon as enough is
    free. An entry whose files all have other names frees nothing and stays.
    """
    missing = wanted_free(total, needed) - free
    chosen: list[TrashEntry] = []
    for entry in sorted(entries, key=lambda entry: (entry.trashed_at, entry.id)):
        if missing <= 0:
            break
        frees = frees_bytes(entry)
        if frees > 0:
            chosen.append(entry)
            missing -= frees
    return chosen


def frees_bytes(entry: TrashEntry) -> int:
    """What purging an entry frees: what its checkpoint shared with nothing when it was removed."""
    unique = entry.checkpoint.get("unique_bytes")
    return min(unique, entry.bytes) if isinstance(unique, int) and not isinstance(unique, bool) else entry.bytes
