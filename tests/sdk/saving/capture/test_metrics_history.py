"""The history of metrics that a checkpoint holds: all of the training, bounded."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from ckpt.saving.capture.metrics_history import COLUMNS, ROWS, MetricsHistory
from ckpt.state import TrainingState


def state(step: int, /, **metrics: float) -> TrainingState:
    return TrainingState(epoch=step // 10, global_step=step, learning_rate=0.1, loss=1 / (step + 1), metrics=metrics)


def test_columns_are_of_one_length() -> None:
    history = MetricsHistory()
    assert history.to_plain() is None
    history.add(state(0))
    history.add(state(1, acc=0.5))
    assert history.to_plain() == {
        "global_step": [0, 1],
        "epoch": [0, 0],
        "loss": [1.0, 0.5],
        "learning_rate": [0.1, 0.1],
        "acc": [None, 0.5],
    }


def test_one_step_is_one_row() -> None:
    history = MetricsHistory()
    history.add(state(1, a=1.0))
    history.add(state(1, b=2.0))
    found = history.to_plain()
    assert found is not None
    assert (found["global_step"], found["a"], found["b"]) == ([1], [1.0], [2.0])


@pytest.mark.parametrize("count", [ROWS, ROWS + 1, 3 * ROWS, 10_007])
def test_a_long_training_is_there_from_end_to_end(count: int) -> None:
    history = MetricsHistory()
    for step in range(count):
        history.add(state(step))
    found = history.to_plain()
    assert found is not None
    steps = found["global_step"]
    assert len(steps) <= ROWS
    assert (steps[0], steps[-1]) == (0, count - 1)
    assert steps == sorted(set(steps))
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert max(gaps) <= 2 * count / ROWS + 1


def test_names_are_bounded() -> None:
    history = MetricsHistory()
    for step in range(2 * COLUMNS):
        history.add(state(step, **{f"m{step}": 1.0}))
    found = history.to_plain()
    assert found is not None
    assert len(found) == 4 + COLUMNS


def test_what_was_saved_goes_on() -> None:
    history = MetricsHistory()
    history.add(state(1, acc=0.5))
    again = MetricsHistory(history.to_plain())
    again.add(state(2))
    found = again.to_plain()
    assert found is not None
    assert (found["global_step"], found["acc"]) == ([1, 2], [0.5, None])


@pytest.mark.parametrize(
    "saved",
    [None, 3, [], {}, {"val_loss": [1.0]}, {"global_step": 3}, {"global_step": ["a"]}, {"global_step": [None]}],
)
def test_what_is_no_history_is_an_empty_one(saved: Any) -> None:
    assert MetricsHistory(saved).to_plain() is None


def test_columns_that_do_not_fit_are_left_out() -> None:
    found = MetricsHistory({"global_step": [1, 2], "a": [1.0], "b": ["x", 0.5]}).to_plain()
    assert found is not None
    assert (found["global_step"], found["b"]) == ([1, 2], [None, 0.5])
    assert "a" not in found
    assert math.isnan(found["loss"][0])
