from __future__ import annotations

import pytest

from ckpt.trash import TrashEntry
from ckptd.space import pressure
from ckptd.space.pressure import YOUNG_S, wanted_free

GB = 1 << 30


def entry(number: int, size: int, unique: int | None = None) -> TrashEntry:
    known = {} if unique is None else {"unique_bytes": unique}
    return TrashEntry(
        id=f"{number:016x}",
        run="r",
        path=f"/runs/r/{number}",
        bytes=size,
        trashed_at=1000.0 + number,
        purge_at=1e12,
        plan="",
        checkpoint=known,
    )


def due_early(
    entries: list[TrashEntry], free: int, total: int, needed: int, waited: float = YOUNG_S
) -> list[TrashEntry]:
    """Of entries that have all waited so long."""
    return pressure.due_early(entries, free, total, needed, {entry.id: waited for entry in entries})


def test_nothing_goes_early_while_enough_is_free() -> None:
    waiting = [entry(n, GB) for n in range(5)]
    assert due_early(waiting, free=10 * GB, total=100 * GB, needed=0) == []
    assert due_early(waiting, free=2 * GB, total=100 * GB, needed=GB) == []
    assert due_early([], free=0, total=100 * GB, needed=GB) == []


def test_the_oldest_go_until_enough_is_free_and_no_more() -> None:
    waiting = [entry(n, GB) for n in (3, 1, 4, 0, 2)]
    chosen = due_early(waiting, free=0, total=100 * GB, needed=GB)
    assert [e.trashed_at for e in chosen] == [1000.0, 1001.0]
    assert len(due_early(waiting, free=0, total=100 * GB, needed=0)) == 1
    assert len(due_early(waiting, free=0, total=100 * GB, needed=50 * GB)) == 5


@pytest.mark.parametrize(
    ("total", "needed", "wanted"), [(100 * GB, 0, GB), (10_000 * GB, 0, 5 * GB), (100 * GB, GB, 2 * GB), (0, 0, 0)]
)
def test_how_much_should_be_free(total: int, needed: int, wanted: int) -> None:
    assert wanted_free(total, needed) == wanted


def test_what_frees_nothing_stays() -> None:
    shared, half, unknown = entry(0, 10 * GB, unique=0), entry(1, 10 * GB, unique=GB), entry(2, GB)
    assert [e.frees for e in (shared, half, unknown)] == [0, GB, GB]
    assert due_early([shared, half, unknown], free=0, total=100 * GB, needed=GB) == [half, unknown]
    # Neither a record of another kind nor one that claims more than the files have is believed.
    assert entry(0, GB, unique=1 << 60).frees == GB
    assert entry(0, GB).evolve(checkpoint={"unique_bytes": "much"}).frees == GB


def test_what_was_removed_just_now_goes_early_only_while_what_is_written_soon_does_not_fit() -> None:
    young = [entry(n, GB) for n in range(5)]
    assert due_early(young, free=GB, total=100 * GB, needed=GB, waited=YOUNG_S - 1) == []
    assert due_early(young, free=0, total=100 * GB, needed=0, waited=YOUNG_S - 1) == [], "nobody writes"
    assert due_early(young, free=GB - 1, total=100 * GB, needed=GB, waited=0.0) == young[:1]
    assert pressure.due_early(young, 0, 100 * GB, GB, {}) == young[:1], "what is not known is young"


def test_what_was_removed_just_now_goes_after_all_others() -> None:
    lying = [entry(n, GB) for n in range(5)]
    waited = {e.id: YOUNG_S if e.trashed_at >= 1003.0 else 0.0 for e in lying}
    assert pressure.due_early(lying, 0, 100 * GB, GB, waited) == lying[3:]
    assert pressure.due_early(lying, 0, 100 * GB, 3 * GB, waited) == [*lying[3:], lying[0]]
