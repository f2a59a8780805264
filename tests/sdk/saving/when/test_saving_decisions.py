"""When to save: the rules by steps, by epochs and by the best metric, asked as a loop asks."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.exceptions import StateError
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.state import TrainingState

WEIGHTS = {"w": torch.arange(6.0)}


def state(step: int, epoch: int = 0, /, loss: float = 0.5, **metrics: Any) -> TrainingState:
    return TrainingState(epoch=epoch, global_step=step, learning_rate=0.1, loss=loss, metrics=metrics)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    with Run.create("exp", tmp_path, config={"lr": 0.1}) as made:
        yield made


def steps(manager: CheckpointManager) -> list[int | None]:
    return [c.step for c in manager.list_checkpoints()]


def offer(manager: CheckpointManager, made: TrainingState, at_epoch_end: bool | None = None) -> bool:
    """What a loop does: asks, and saves when a rule says so."""
    wanted = manager.should_save_checkpoint(made, at_epoch_end=at_epoch_end)
    if wanted:
        manager.save_checkpoint(WEIGHTS, made, at_epoch_end=at_epoch_end)
    return wanted


def test_every_n_steps_and_asking_changes_nothing(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_steps=5))
    for step in range(12):
        first = manager.should_save_checkpoint(state(step))
        assert first == manager.should_save_checkpoint(state(step)) == (step in (5, 10))
        assert offer(manager, state(step)) == first
    assert steps(manager) == [10, 5]
    assert not manager.should_save_checkpoint(state(10))


def test_every_epoch_saves_once_an_epoch(run: Run) -> None:
    """Regression: the documented example made 63 commits in 3 epochs of 20 batches."""
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_epochs=1))
    for epoch in range(3):
        for batch in range(20):
            made = state(epoch * 20 + batch, epoch)
            if manager.should_save_checkpoint(made):
                manager.save_checkpoint(WEIGHTS, made)
    assert steps(manager) == [40, 20, 0]


def test_every_other_epoch_at_its_end(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_epochs=2))
    for epoch in range(1, 6):
        offer(manager, state(epoch * 2 - 1, epoch), at_epoch_end=False)
        offer(manager, state(epoch * 2, epoch), at_epoch_end=True)
    assert steps(manager) == [8, 4]


def test_a_save_inside_an_epoch_does_not_count_for_it(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_epochs=1))
    manager.save_checkpoint(WEIGHTS, state(1, 0), at_epoch_end=False)
    assert manager.should_save_checkpoint(state(2, 0), at_epoch_end=True)


@pytest.mark.parametrize(
    ("minimize", "seen", "saved"),
    [
        (True, [3.0, 2.0, 2.0, 4.0, 1.0], [0, 1, 4]),
        (False, [0.0, 0.5, 0.5, 0.2, 0.9], [0, 1, 4]),
        (False, [0.0, -1.0, 0.1], [0, 2]),
        (True, [math.nan, 2.0, math.nan, -math.inf, 1.0, math.inf], [1, 4]),
        (False, [math.nan, math.inf, 1.0], [2]),
    ],
)
def test_on_best_metric(run: Run, minimize: bool, seen: list[float], saved: list[int]) -> None:
    """Regressions: an accuracy of exactly 0 was never saved; a first NaN stayed best for ever."""
    manager = CheckpointManager(run, CheckpointConfig(save_on_best_metric="m", minimize_metric=minimize))
    for step, value in enumerate(seen):
        offer(manager, state(step, m=value))
    assert sorted(s or 0 for s in steps(manager)) == saved
    assert not manager.should_save_checkpoint(state(9))
    best = manager.load_checkpoint(load_best=True)["checkpoint"]
    assert best.step == saved[-1]


def test_the_best_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """Regression: after a restart 0.9 replaced 0.1 as the best."""
    config = CheckpointConfig(save_on_best_metric="m", keep_best_n_checkpoints=1)
    with Run.create("exp", tmp_path) as run:
        assert CheckpointManager(run, config).save_checkpoint(WEIGHTS, state(1, m=0.1))
    with Run.resume("exp", tmp_path) as run:
        manager = CheckpointManager(run, config)
        assert not manager.should_save_checkpoint(state(2, m=0.9))
        assert manager.should_save_checkpoint(state(3, m=0.05))


def test_asking_first_and_failing_once_does_not_lose_the_best(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: asking moved the best value, and so did a failed save; the save was lost either way."""
    manager = CheckpointManager(run, CheckpointConfig(save_on_best_metric="m"))
    made = state(1, m=0.1)
    with pytest.raises(StateError):
        manager.save_checkpoint({"w": "no tensor"}, made)
    assert manager.should_save_checkpoint(made)
    assert manager.save_checkpoint(WEIGHTS, made) is not None


def test_saving_saves_whatever_the_rules_say(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_steps=100))
    assert not manager.should_save_checkpoint(state(2))
    handle = manager.save_checkpoint(WEIGHTS, state(2))
    assert handle is not None and os.path.isfile(handle) and str(handle) == os.fspath(handle)
