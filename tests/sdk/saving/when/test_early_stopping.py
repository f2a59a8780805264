"""Early stopping: what counts as a look, and what survives a restart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.saving.restore.loading import read_file
from ckpt.state import TrainingState

WEIGHTS = {"w": torch.zeros(2)}


def state(step: int, /, **metrics: Any) -> TrainingState:
    return TrainingState(epoch=step, global_step=step, learning_rate=0.1, loss=0.5, metrics=metrics)


def test_early_stopping_counts_looks_without_improvement(tmp_path: Path) -> None:
    config = CheckpointConfig(save_on_best_metric="m", early_stopping_patience=2, early_stopping_threshold=0.1)
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run, config)
        answers = [manager.check_early_stopping(state(i, m=m)) for i, m in enumerate([1.0, 0.95, 0.8, math.nan])]
        assert answers == [False] * 4
        assert manager.no_improvement_count == 1
        assert not manager.check_early_stopping(state(5))
        assert manager.no_improvement_count == 1
        assert manager.check_early_stopping(state(6, m=0.75))
        assert manager.should_stop_early
        assert not manager.check_early_stopping(state(7, m=0.1))
        assert not manager.should_stop_early


@pytest.mark.parametrize(("minimize", "improving"), [(True, [3, 2, 1]), (False, [1, 2, 3])])
def test_early_stopping_knows_the_direction(tmp_path: Path, minimize: bool, improving: list[int]) -> None:
    config = CheckpointConfig(save_on_best_metric="m", minimize_metric=minimize, early_stopping_patience=1)
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run, config)
        assert not any(manager.check_early_stopping(state(i, m=m)) for i, m in enumerate(improving))
        assert manager.check_early_stopping(state(9, m=2))


def test_without_patience_nothing_stops(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        assert not any(manager.check_early_stopping(state(i)) for i in range(5))
        assert (manager.should_stop_early, manager.no_improvement_count) == (False, 0)
        assert not run.paths.early_stopping.exists()


def test_early_stopping_survives_a_restart_and_follows_a_return(tmp_path: Path) -> None:
    config = CheckpointConfig(save_on_best_metric="m", early_stopping_patience=4)
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run, config)
        for step, m in enumerate([1.0, 2.0, 0.5, 3.0, 3.0], 1):
            manager.save_checkpoint(WEIGHTS, state(step, m=m))
            manager.check_early_stopping(state(step, m=m))
        assert manager.no_improvement_count == 2
    with Run.resume("r", tmp_path) as run:
        manager = CheckpointManager(run, config)
        assert manager.no_improvement_count == 2
        manager.restore_from_checkpoint(ref="step:4")
        assert manager.no_improvement_count == 1
        manager.check_early_stopping(state(5, m=9.0))
    with Run.resume("r", tmp_path) as run:
        manager = CheckpointManager(run, config)
        assert manager.no_improvement_count == 2
        manager.restore_from_checkpoint(ref="step:2")
        assert manager.no_improvement_count == 1
        assert not manager.check_early_stopping(state(3, m=0.9))
        assert manager.no_improvement_count == 0


def test_looks_before_the_lock_is_taken_are_kept(tmp_path: Path) -> None:
    config = CheckpointConfig(early_stopping_patience=3)
    manager = CheckpointManager(tmp_path / "r", config)
    manager.check_early_stopping(state(1))
    manager.check_early_stopping(state(2))
    manager.save_checkpoint(WEIGHTS, state(2))
    manager.check_early_stopping(state(3))
    manager.run.close()
    assert CheckpointManager(tmp_path / "r", config).no_improvement_count == 2


MONITORED = CheckpointConfig(save_on_best_metric="m", early_stopping_patience=4)


def looked(run: Run, values: list[float], *, first: int = 1) -> CheckpointManager:
    """A training that looks, and then saves, at each step; as the hook does."""
    manager = CheckpointManager(run, MONITORED)
    for step, m in enumerate(values, first):
        manager.check_early_stopping(state(step, m=m))
        manager.save_checkpoint(WEIGHTS, state(step, m=m))
    return manager


def standing(manager: CheckpointManager) -> tuple[float | None, int, int]:
    now = manager._rules.patience.now
    return now.best, now.count, now.looks


def test_a_checkpoint_holds_what_its_looks_amount_to(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = looked(run, [1.0, math.nan, 0.5, 3.0, 3.0])
        held = {"metric": "m", "mode": "min", "best": 0.5, "count": 2, "looks": 5}
        loaded = manager.load_checkpoint()
        assert loaded["early_stopping"] == held
        content = read_file(Path(loaded["path"]))
        assert content.report is not None
        assert "early_stopping" in content.report.captured
        assert manager.load_checkpoint("step:1")["early_stopping"] == {**held, "best": 1.0, "count": 0, "looks": 1}
    with Run.create("no patience", tmp_path) as run:
        manager = CheckpointManager(run, CheckpointConfig(save_on_best_metric="m"))
        manager.save_checkpoint(WEIGHTS, state(1, m=1.0))
        assert manager.load_checkpoint()["early_stopping"] is None


def test_another_run_and_a_fork_count_on_from_the_checkpoint(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        looked(run, [1.0, 2.0, 0.5, 3.0, 3.0])
    with Run.create("other", tmp_path) as run:
        manager = CheckpointManager(run, MONITORED)
        manager.check_early_stopping(state(1, m=0.1))
        manager.restore_from_checkpoint(ref=tmp_path / "r")
        assert standing(manager) == (0.5, 2, 5)
        looked(run, [0.6], first=6)
    for _ in range(2):
        with Run.resume("other", tmp_path) as run:
            manager = CheckpointManager(run, MONITORED)
            manager.restore_from_checkpoint()
            assert standing(manager) == (0.5, 3, 6)
    fork = Run.fork(tmp_path / "r", "f", base_dir=tmp_path)
    fork.close()
    for _ in range(2):
        with Run.resume("f", tmp_path) as run:
            manager = CheckpointManager(run, MONITORED)
            assert manager.restore_from_checkpoint().start_of_fork
            assert standing(manager) == (0.5, 2, 5)
    with Run.resume("f", tmp_path) as run:
        looked(run, [9.0])
        assert standing(CheckpointManager(run, MONITORED)) == (0.5, 3, 6)


def test_weights_alone_bring_no_looks(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        looked(run, [1.0, 2.0])
    with Run.create("warm", tmp_path) as run:
        manager = CheckpointManager(run, MONITORED)
        manager.restore_from_checkpoint(ref=tmp_path / "r", weights_only=True)
        assert standing(manager) == (None, 0, 0)


@pytest.mark.parametrize("left", [0, 2])
def test_lost_lines_of_the_run_are_made_good_by_the_checkpoint(tmp_path: Path, left: int) -> None:
    """A power cut takes lines that no fsync waited for; it takes no checkpoint."""
    with Run.create("r", tmp_path) as run:
        looked(run, [1.0, 2.0, 0.5, 3.0, 3.0])
        file = run.paths.early_stopping
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:left]))
    with Run.resume("r", tmp_path) as run:
        manager = CheckpointManager(run, MONITORED)
        manager.restore_from_checkpoint()
        assert standing(manager) == (0.5, 2, 5)
        manager.check_early_stopping(state(6, m=4.0))
        assert standing(CheckpointManager(run, MONITORED)) == (0.5, 3, 6)
        manager.restore_from_checkpoint(ref="step:4")
        assert standing(manager) == (0.5, 1, 4)
        manager.restore_from_checkpoint(ref="step:1")
        assert standing(manager) == (1.0, 0, 1)


def test_the_run_knows_of_a_look_behind_the_save(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run, MONITORED)
        for step, m in enumerate([1.0, 2.0], 1):
            manager.save_checkpoint(WEIGHTS, state(step, m=m))
            manager.check_early_stopping(state(step, m=m))
        assert manager.load_checkpoint()["early_stopping"]["looks"] == 1
        manager.restore_from_checkpoint()
        assert standing(manager) == (1.0, 1, 2)


def test_looks_at_another_metric_do_not_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run.create("r", tmp_path) as run:
        looked(run, [1.0, 2.0])
    with Run.create("other", tmp_path) as run:
        manager = CheckpointManager(run, CheckpointConfig(save_on_best_metric="n", early_stopping_patience=2))
        manager.restore_from_checkpoint(ref=tmp_path / "r")
        assert standing(manager) == (None, 0, 0)
    assert "the checkpoint looked at the min of m, and now it is the min of n" in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"count": -1}, {"count": 9}, {"looks": True}, {"best": math.inf}, {"best": "1"}, {"count": None}]
)
def test_what_is_no_standing_is_passed_over(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run, MONITORED)
        held = {"metric": "m", "mode": "min", "best": 1.0, "count": 1, "looks": 2}
        manager._rules.patience.go_on_from(1, {**held, **wrong}, is_own=True)
        assert standing(manager) == (None, 0, 0)
        manager._rules.patience.go_on_from(1, held, is_own=True)
        assert standing(manager) == (1.0, 1, 2)
