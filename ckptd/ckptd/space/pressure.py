"""What has to leave the trash before its time, because the disk would otherwise fill. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckpt.trash import TrashEntry

_SHARE = 100  # one hundredth of the disk stays free …
_PLENTY = 5 << 30  # … or this much
YOUNG_S = 600.0
"""What has lain there a shorter time may yet be taken back by a person, and goes early only in need."""
_SAVES = 2  # and room for this many times what trainings write there soon


def wanted_free(total: int, needed: int) -> int:
    """Bytes that should be free on a disk of `total` bytes; `needed` are those that trainings write soon."""
    return max(min(total // _SHARE, _PLENTY), _SAVES * needed)


def due_early(
    entries: Iterable[TrashEntry], free: int, total: int, needed: int, waited: Mapping[str, float]
) -> list[TrashEntry]:
    """The entries to purge now although their time has not come, the oldest first; none while enough is free.

    `entries` lie on one disk, and the caller leaves out those of every other: purging them would free nothing here.
    `free` and `total` are bytes of that disk (`samples.room_at` of the trash's directory), `needed` is what
    `cadence.written_soon` gives for the trainings whose runs lie on it, 0 when none runs. `waited` tells by entry id
    for how many seconds each has lain there: those that have not for YOUNG_S go only where not even `needed` would be
    free without them, and then only until it is. An entry whose files all have other names frees nothing and stays.
    """
    lying = sorted(entries, key=lambda entry: (entry.trashed_at, entry.id))
    young = [entry for entry in lying if waited.get(entry.id, 0.0) < YOUNG_S]
    chosen = _first(
        (entry for entry in lying if waited.get(entry.id, 0.0) >= YOUNG_S), wanted_free(total, needed) - free
    )
    return chosen + _first(young, needed - free - sum(entry.frees for entry in chosen))


def _first(entries: Iterable[TrashEntry], missing: int) -> list[TrashEntry]:
    """As many entries as free the missing bytes."""
    chosen: list[TrashEntry] = []
    for entry in entries:
        if missing <= 0:
            break
        if entry.frees > 0:
            chosen.append(entry)
            missing -= entry.frees
    return chosen
