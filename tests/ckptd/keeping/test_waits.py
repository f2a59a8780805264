"""How long things wait in the trash, whatever the wall clock says, over restarts of daemon and machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ckpt.trash import TrashEntry
from ckptd.keeping import waits
from ckptd.keeping.waits import Waits

DAY = 86400.0


class Machine:
    """Its steady clock, and which start of it this is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up_s, self.boot = 100.0, "first"
        monkeypatch.setattr(waits, "steady", lambda: self.up_s)
        monkeypatch.setattr(waits, "boot", lambda: self.boot)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def entry(number: int, keep_for: float = DAY) -> TrashEntry:
    at = 1000.0 + number
    return TrashEntry(
        id=f"{number:015x}", run="r", path=f"/r/{number}", bytes=1, trashed_at=at, purge_at=at + keep_for, plan=""
    )


def due(waiting: Waits, *entries: TrashEntry, trash: str = "/r/.trash") -> list[str]:
    found = [entry.path for entry in waiting.due(trash, entries)]
    waiting.save([trash])
    return found


def test_a_thing_waits_from_when_it_was_first_seen(machine: Machine) -> None:
    waiting = Waits(None)
    assert due(waiting, entry(1)) == [], "however old it says it is"
    machine.up_s += DAY / 2
    assert due(waiting, entry(2), entry(1)) == []
    machine.up_s += DAY / 2
    assert due(waiting, entry(2), entry(1)) == ["/r/1"]
    machine.up_s += DAY / 2
    assert due(waiting, entry(2), entry(1)) == ["/r/1", "/r/2"], "the oldest first"
    assert due(waiting, entry(3, keep_for=0)) == ["/r/3"]


def test_what_went_away_and_came_again_waits_anew(machine: Machine) -> None:
    waiting = Waits(None)
    due(waiting, entry(1))
    machine.up_s += DAY
    assert due(waiting) == []
    assert due(waiting, entry(1)) == []


def test_time_between_two_daemons_counts_and_time_without_a_machine_does_not(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "waits.json"
    due(Waits(path), entry(1))
    machine.up_s += DAY / 2
    first = Waits(path)
    due(first, entry(1))
    first.close()
    machine.up_s, machine.boot = 5.0, "second"
    second = Waits(path)
    machine.up_s += DAY / 2 - 1.0
    assert due(second, entry(1)) == []
    machine.up_s += 2.0
    assert due(second, entry(1)) == ["/r/1"]


def test_a_sudden_end_loses_some_minutes_at_most(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "waits.json"
    killed = Waits(path)
    for _ in range(100):
        due(killed, entry(1))
        machine.up_s += 60.0
    machine.up_s, machine.boot = 5.0, "second"
    waiting = Waits(path)
    machine.up_s += DAY - 100 * 60.0 + waits.SAVED_S + 60.0
    assert due(waiting, entry(1)) == ["/r/1"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 2}', '{"format": 1, "counted": "NaN"}', '{"format": 1, "counted": 1e999}']
)
def test_a_file_that_cannot_be_understood_makes_things_wait_anew(
    machine: Machine, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "waits.json"
    path.write_text(content)
    waiting = Waits(path)
    assert due(waiting, entry(1)) == []
    machine.up_s += DAY
    assert due(waiting, entry(1)) == ["/r/1"]
    assert due(Waits(path), entry(1)) == ["/r/1"], "and is written anew"


def test_a_steady_clock_that_went_back_counts_nothing(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "waits.json"
    due(Waits(path), entry(1))
    machine.up_s = 3.0
    waiting = Waits(path)
    assert due(waiting, entry(1)) == []
    machine.up_s += DAY
    assert due(waiting, entry(1)) == ["/r/1"]


def test_a_trash_whose_disk_is_away_is_remembered_but_not_for_ever(machine: Machine) -> None:
    waiting = Waits(None)
    due(waiting, entry(1), trash="/away")
    machine.up_s += DAY
    waiting.save([])
    assert due(waiting, entry(1), trash="/away") == ["/r/1"]
    machine.up_s += waits.ABSENT_S
    waiting.save([])
    assert due(waiting, entry(1), trash="/away") == []


def test_the_file_is_not_written_for_nothing(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "waits.json"
    waiting = Waits(path)
    due(waiting)
    assert not path.exists()
    due(waiting, entry(1))
    before = path.stat().st_ino
    machine.up_s += waits.SAVED_S / 2
    due(waiting, entry(1))
    assert path.stat().st_ino == before
    machine.up_s += waits.SAVED_S
    due(waiting, entry(1))
    assert path.stat().st_ino != before


@pytest.mark.parametrize("years", [10, -10])
def test_a_daemon_that_starts_in_another_year_purges_nothing(
    world: Any, make_world: Any, foreign: Any, enforced: Any, passes: Any, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    foreign.transformers()
    enforced(keep_last=2)
    world.keeper.sweep([view.run.id for view in world.catalog.all()])
    assert len(world.keeper.entries()) == 3
    world.keeper.purge_due()
    world.keeper.stop()
    world.journal.close()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + years * 365 * DAY)
    again = make_world()
    again.keeper.purge_due()
    passes(DAY - 120)
    again.keeper.purge_due()
    assert len(again.keeper.entries()) == 3
    passes(121)
    again.keeper.purge_due()
    assert again.keeper.entries() == []
