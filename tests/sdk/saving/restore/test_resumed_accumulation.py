"""Trainings that accumulate in other ways than the usual go on to the bit wherever they are saved."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.hook import TrainingHook
from ckpt.state import values

torch.set_num_threads(1)

MICRO_BATCHES = 10
DATA = torch.randn(MICRO_BATCHES, 6, 4, generator=torch.Generator().manual_seed(5))


class Scaled:
    """Mixed precision: gradients stand scaled until they are unscaled and clipped, and some steps are skipped."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.model: Any = torch.nn.Linear(4, 1)
        self.optimizer: Any = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)

    def micro(self, i: int) -> None:
        loss = self.model(DATA[i]).pow(2).mean() * (float("inf") if i == 3 else 1.0)
        self.scaler.scale(loss).backward()
        if i % 3 == 2:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()


class Adversarial:
    """Two optimizers that step at different times; the generator's loss adds to the critic's gradients too."""

    scaler = None

    def __init__(self) -> None:
        torch.manual_seed(2)
        self.model: Any = {"generator": torch.nn.Linear(4, 4), "critic": torch.nn.Linear(4, 1)}
        self.optimizer: Any = {n: torch.optim.Adam(m.parameters(), lr=0.05) for n, m in self.model.items()}

    def micro(self, i: int) -> None:
        fake = self.model["generator"](torch.randn(6, 4))
        if i % 2 == 0:
            self.optimizer["critic"].zero_grad()
        (self.model["critic"](fake.detach()) - self.model["critic"](DATA[i])).mean().backward()
        if i % 2 == 1:
            self.optimizer["critic"].step()
        (-self.model["critic"](fake).mean()).backward()
        if i % 5 == 4:
            self.optimizer["generator"].step()
            self.optimizer["generator"].zero_grad(set_to_none=False)


class Searching:
    """A closure that is called as often as the optimizer likes, over gradients of its own and one that waits."""

    scaler = None

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.model: Any = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 1))
        self.optimizer: Any = [
            torch.optim.LBFGS(self.model[0].parameters(), max_iter=3),
            torch.optim.SGD(self.model[1].parameters(), lr=0.05, momentum=0.9),
        ]

    def micro(self, i: int) -> None:
        def closure() -> torch.Tensor:
            self.optimizer[0].zero_grad()
            loss: torch.Tensor = self.model(DATA[i]).pow(2).mean()
            loss.backward()
            return loss

        self.optimizer[0].step(closure)
        if i % 4 == 3:
            self.optimizer[1].step()
            self.optimizer[1].zero_grad()


def everything(training: Any) -> Any:
    models = training.model.values() if isinstance(training.model, dict) else [training.model]
    several = training.optimizer
    optimizers = list(several.values()) if isinstance(several, dict) else several
    parts = [*models, *(optimizers if isinstance(optimizers, list) else [optimizers])]
    scaler = None if training.scaler is None else training.scaler.state_dict()
    return copy.deepcopy([[part.state_dict() for part in parts], scaler, torch.get_rng_state()])


@pytest.mark.parametrize("make", [Scaled, Adversarial, Searching])
def test_a_resume_at_every_micro_batch_comes_to_the_same_bits(make: Callable[[], Any], tmp_path: Path) -> None:
    whole = make()
    torch.manual_seed(9)
    for i in range(MICRO_BATCHES):
        whole.micro(i)
    expected = everything(whole)
    for stop in range(1, MICRO_BATCHES):
        first, second = make(), make()
        torch.manual_seed(9)
        with TrainingHook(first.model, tmp_path / str(stop), optimizer=first.optimizer, scaler=first.scaler) as hook:
            for i in range(stop):
                first.micro(i)
                hook.step(0.5)
            hook.save()
        torch.manual_seed(0)
        with TrainingHook(second.model, tmp_path / str(stop), optimizer=second.optimizer, scaler=second.scaler) as hook:
            report = hook.resume()
            assert report is not None
            assert report.fully_restored
            for i in range(hook.global_step, MICRO_BATCHES):
                second.micro(i)
        assert values.same(everything(second), expected), f"saved behind micro batch {stop}"
