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
