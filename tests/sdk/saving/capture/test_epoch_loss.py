"""The mean loss of an epoch is the same bits, however often the training stopped within it."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt.config import CheckpointConfig
from ckpt.hook import TrainingHook
from ckpt.saving.capture.epoch_loss import EpochLoss
from ckpt.state import values

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(FINITE, st.booleans()), min_size=1, max_size=40))
def test_a_mean_over_stops_is_that_without_them(losses: list[tuple[float, bool]]) -> None:
    sums = EpochLoss()
    for loss, stops in losses:
        sums.add(loss)
        if stops:
            sums = EpochLoss(sums.to_plain())
    assert sums.mean == math.fsum(loss for loss, _ in losses) / len(losses)
    assert (sums.count, sums.last) == (len(losses), losses[-1][0])


def test_what_is_kept_of_many_is_little() -> None:
    sums = EpochLoss()
    drawn = random.Random(1)
    for _ in range(20_000):
        sums.add(drawn.gauss(0, 1) * 10 ** drawn.randrange(-8, 8))
    plain = sums.to_plain()
    assert plain is not None
    assert len(plain["sum"]) < 10


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_one_that_is_not_finite_makes_the_mean_nan(loss: float) -> None:
    sums = EpochLoss()
    assert sums.to_plain() is None
    sums.add(loss)
    sums.add(1.0)
    sums = EpochLoss(sums.to_plain())
    sums.add(2.0)
    assert math.isnan(sums.mean)
    sums.clear()
    sums.add(3.0)
    assert sums.mean == 3.0


@pytest.mark.parametrize(
    "wrong", [None, 3, {}, {"sum": [1.0], "count": 0}, {"sum": [math.nan]}, {"sum": 1.0}, {"last": 1}, {"count": True}]
)
def test_what_is_none_begins_anew(wrong: Any) -> None:
    whole = {"sum": [1.5], "count": 1, "last": 1.5, "is_finite": True}
    sums = EpochLoss({**whole, **wrong} if isinstance(wrong, dict) and wrong else wrong)
    assert (sums.count, values.same(sums.mean, math.nan)) == (0, True)
    assert EpochLoss(whole).mean == 1.5


def test_a_hook_that_goes_on_within_an_epoch_has_the_same_mean_and_patience(tmp_path: Path) -> None:
    losses = [0.1 * math.sin(i) + 1 / (i + 1) for i in range(12)]
    config = CheckpointConfig(save_every_n_epochs=1, early_stopping_patience=3)

    def trained(name: str, stops: tuple[int, ...]) -> list[float]:
        model = torch.nn.Linear(1, 1)
        hook = TrainingHook(model, tmp_path / name, config)
        for i, loss in enumerate(losses):
            if i in stops:
                hook.save()
                hook.close()
                hook = TrainingHook(model, tmp_path / name, config)
                hook.resume()
            hook.step(loss)
            if (i + 1) % 6 == 0:
                hook.epoch_end()
        best = hook.manager._rules.patience.now.best
        assert best is not None
        newest = hook.manager.load_checkpoint()["state"].loss
        hook.close()
        return [best, newest]

    assert trained("stopped", (2, 5, 8)) == trained("whole", ())
