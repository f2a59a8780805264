"""How long what a training removed waits, whatever the wall clock says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ckpt import CheckpointConfig, CheckpointManager, Run, TrainingState
from ckpt.trash import Trash, TrashEntry
from ckpt.writing.waiting import Waiting

HOUR, DAY = 3600.0, 86400.0
NOW = 1_800_000_000.0
YEARS = 10 * 365 * DAY


class Steady:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def entry(trashed_at: float, keep_for: float = DAY) -> TrashEntry:
    return TrashEntry(
        id=f"{int(trashed_at * 1000):015x}",
        run="r",
        path="/r",
        bytes=1,
        trashed_at=trashed_at,
        purge_at=trashed_at + keep_for,
        plan="",
    )


def hourly(start: float, end: float) -> list[float]:
    return [start + n * HOUR for n in range(int((end - start) / HOUR) + 1)]


def waits_for(entry: TrashEntry, saved_at: Sequence[float]) -> float:
    """Seconds that a training purges an entry after, when it begins now."""
    clock = Steady()
    waiting = Waiting(saved_at, [entry], clock)
    begin, low, high = clock.now, 0.0, 2 * DAY
    while high - low > 1.0:
        clock.now = begin + (low + high) / 2
        low, high = (low, clock.now - begin) if waiting.due([entry]) else (clock.now - begin, high)
    return high


def test_what_passed_while_trainings_saved_counts_whole() -> None:
    old = entry(NOW - 20 * HOUR)
    assert waits_for(old, hourly(NOW - 30 * HOUR, NOW)) == pytest.approx(4 * HOUR, abs=2)
    older = entry(NOW - 25 * HOUR)
    assert waits_for(older, hourly(NOW - 30 * HOUR, NOW)) <= 1


@pytest.mark.parametrize("ahead", [DAY, 3 * DAY, YEARS])
def test_a_clock_that_is_ahead_at_the_start_never_purges_by_itself(ahead: float) -> None:
    assert waits_for(entry(NOW - ahead), hourly(NOW - ahead - DAY, NOW - ahead)) == pytest.approx(DAY / 2, abs=2)


def test_nor_does_one_that_stays_wrong_over_several_trainings() -> None:
    before = hourly(NOW - YEARS - DAY, NOW - YEARS)
    since = hourly(NOW - 2 * HOUR, NOW)
    assert waits_for(entry(NOW - YEARS), [*before, *since]) == pytest.approx(DAY / 2 - 2 * HOUR, abs=2)


@pytest.mark.parametrize("behind", [DAY, YEARS])
def test_one_that_is_behind_does_not_make_it_wait_for_ever(behind: float) -> None:
    late = entry(NOW + behind)
    assert waits_for(late, hourly(NOW + behind - DAY, NOW + behind)) == pytest.approx(DAY, abs=2)


def test_what_this_training_removes_waits_by_its_own_steady_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Steady()
    waiting = Waiting([NOW], [], clock)
    new = entry(NOW)
    assert waiting.due([new]) == []
    monkeypatch.setattr(time, "time", lambda: NOW + YEARS)
    clock.now += DAY - 1
    assert waiting.due([new]) == []
    clock.now += 1
    assert waiting.due([new]) == [new]
    assert Waiting([], [entry(NOW, 0.0)], clock).due([entry(NOW, 0.0)]) == [entry(NOW, 0.0)]


def test_a_training_that_starts_in_another_year_purges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manager for each process of a run."""

    def save(at: float, *steps: int) -> None:
        monkeypatch.setattr(time, "time", lambda: at)
        with Run.at(tmp_path / "run") as run:
            run.begin()
            manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=1, keep_for="1d"))
            for step in steps:
                manager.save_checkpoint({}, TrainingState(epoch=0, global_step=step, learning_rate=0.1, loss=1.0))

    save(NOW, 1, 2)
    assert len(Trash(tmp_path / "run" / ".trash").entries()) == 1
    save(NOW + YEARS, 3, 4)
    assert len(Trash(tmp_path / "run" / ".trash").entries()) == 3
