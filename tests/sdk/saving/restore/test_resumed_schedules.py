"""Schedules of the learning rate and of losses: the next values behind a resume within an epoch, bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as lr

from ckpt.hook import TrainingHook

torch.set_num_threads(1)

STOP, MORE = 7, 20


class Warmed:
    """A multiplier with a memory."""

    def __init__(self) -> None:
        self.highest = 0.0

    def __call__(self, step: int) -> float:
        self.highest = max(self.highest, math.sin(step))
        return 0.1 + self.highest / (step + 1)


def _sequential(o: Any) -> Any:
    parts = [lr.LinearLR(o, 0.1, total_iters=5), lr.CosineAnnealingLR(o, 9), lr.LambdaLR(o, Warmed())]
    return lr.SequentialLR(o, parts, milestones=[5, 12])


def _nested(o: Any) -> Any:
    return lr.ChainedScheduler([_sequential(o), lr.ExponentialLR(o, 0.97)], optimizer=o)


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda o: lr.LambdaLR(o, [Warmed(), Warmed()]),
    "MultiplicativeLR": lambda o: lr.MultiplicativeLR(o, lambda step: 0.9 + 0.01 * (step % 3)),
    "StepLR": lambda o: lr.StepLR(o, 4),
    "MultiStepLR": lambda o: lr.MultiStepLR(o, [3, 8, 8, 15]),
    "ConstantLR": lambda o: lr.ConstantLR(o, 0.3, 9),
    "LinearLR": lambda o: lr.LinearLR(o, 0.1, total_iters=13),
    "ExponentialLR": lambda o: lr.ExponentialLR(o, 0.93),
    "PolynomialLR": lambda o: lr.PolynomialLR(o, 25, 1.7),
    "CosineAnnealingLR": lambda o: lr.CosineAnnealingLR(o, 11),
    "CosineAnnealingWarmRestarts": lambda o: lr.CosineAnnealingWarmRestarts(o, 3, 2),
    "CyclicLR": lambda o: lr.CyclicLR(o, 0.01, 0.2, 4, mode="exp_range", gamma=0.98),
    "CyclicLR with a function": lambda o: lr.CyclicLR(o, 0.01, 0.2, 4, scale_fn=Warmed(), scale_mode="iterations"),
    "OneCycleLR": lambda o: lr.OneCycleLR(o, [0.3, 0.2], total_steps=40, three_phase=True),
    "ReduceLROnPlateau": lambda o: lr.ReduceLROnPlateau(o, patience=1, cooldown=1, factor=0.7),
    "SequentialLR": _sequential,
    "ChainedScheduler": lambda o: lr.ChainedScheduler([lr.StepLR(o, 3), lr.CyclicLR(o, 0.01, 0.2, 4)], optimizer=o),
    "ChainedScheduler of sequential ones": _nested,
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.05, anneal_epochs=12),
}


class Training:
    def __init__(self, make: Callable[[Any], Any]) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        groups = [{"params": self.model[0].parameters()}, {"params": self.model[1].parameters(), "lr": 0.05}]
        self.optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        self.scheduler = make(self.optimizer)

    def step(self, i: int) -> list[Any]:
        """One step, and what the scheduler made of the groups."""
        self.optimizer.zero_grad()
        loss = self.model(torch.full((1, 2), i / 7)).pow(2).sum()
        loss.backward()
        self.optimizer.step()
        if isinstance(self.scheduler, lr.ReduceLROnPlateau):
            self.scheduler.step(abs(math.sin(i * i)))
        else:
            self.scheduler.step()
        return [(group["lr"], group["momentum"]) for group in self.optimizer.param_groups]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_next_rates_are_the_same(name: str, tmp_path: Path) -> None:
    whole, first, second = (Training(SCHEDULERS[name]) for _ in range(3))
    expected = [whole.step(i) for i in range(STOP + MORE)][STOP:]
    with TrainingHook(first.model, tmp_path / "r", None, first.optimizer, first.scheduler) as hook:
        for i in range(STOP):
            first.step(i)
            hook.step(0.5)
        hook.save()
    with TrainingHook(second.model, tmp_path / "r", None, second.optimizer, second.scheduler) as hook:
        report = hook.resume()
        assert report is not None
        assert report.fully_restored
        assert [second.step(i) for i in range(hook.global_step, STOP + MORE)] == expected


class Annealed:
    """The weight of a loss that learns from what it sees."""

    def __init__(self) -> None:
        self.weight, self.seen = 1.0, torch.zeros(2)

    def next(self, loss: float) -> float:
        self.seen = self.seen * 0.9 + torch.tensor([loss, loss * loss])
        self.weight = self.weight * 0.97 + 0.03 * float(self.seen[0] / (self.seen[1] + 1))
        return self.weight

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight, self.seen = state["weight"], state["seen"]


def test_a_registered_schedule_of_losses_goes_on(tmp_path: Path) -> None:
    whole, first, second = Annealed(), Annealed(), Annealed()
    losses = [math.cos(i) for i in range(STOP + MORE)]
    expected = [whole.next(loss) for loss in losses][STOP:]
    model = torch.nn.Linear(1, 1)
    with TrainingHook(model, tmp_path / "r") as hook:
        hook.register("kl_weight", first)
        for loss in losses[:STOP]:
            first.next(loss)
            hook.step(loss)
        hook.save()
    with TrainingHook(model, tmp_path / "r") as hook:
        hook.register("kl_weight", second)
        report = hook.resume()
        assert report is not None
        assert report.registered == ("kl_weight",)
        assert [second.next(loss) for loss in losses[hook.global_step :]] == expected


def test_a_weight_that_follows_from_the_step_needs_no_state(tmp_path: Path) -> None:
    def weight(step: int, epoch: int) -> float:
        return min(1.0, step / 13) * 0.9**epoch

    expected = [weight(step, step // 5) for step in range(STOP + MORE)][STOP:]
    model = torch.nn.Linear(1, 1)
    with TrainingHook(model, tmp_path / "r") as hook:
        for _ in range(STOP):
            hook.step(0.5)
            if hook.global_step % 5 == 0:
                hook.epoch_end()
        hook.save()
    found = []
    with TrainingHook(model, tmp_path / "r") as hook:
        hook.resume()
        for _ in range(MORE):
            found.append(weight(hook.global_step, hook.epoch))
            hook.step(0.5)
            if hook.global_step % 5 == 0:
                hook.epoch_end()
    assert found == expected
