"""Optimizers, schedulers and models of many kinds, saved and restored: each goes on with the same bits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedules

import ckpt
from ckpt.exceptions import StateError
from ckpt.saving.capture.configs import config_of
from ckpt.state import values

torch.set_num_threads(1)


def net() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))


class Momentum(torch.optim.Optimizer):
    """An optimizer of somebody's own: a 0-d tensor, a tensor under an integer key, and lists in lists."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            if not state:
                state.update({"step": torch.tensor(0), 0: torch.zeros_like(parameter), "seen": [0, {"n": (1, 2)}]})
            state["step"] += 1
            state["seen"][0] += 1
            state[0].mul_(0.9).add_(parameter.grad)
            parameter.add_(state[0], alpha=-0.1 / state["seen"][0])


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "sgd before its first step": lambda p: torch.optim.SGD(p, lr=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "adamw with a tensor as its rate": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.1)),
    "groups": lambda p: torch.optim.AdamW([{"params": p[:1], "lr": 0.2}, {"params": p[1:], "weight_decay": 0.0}]),
    "rmsprop": lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.5),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, history_size=3, max_iter=3),
    "muon": lambda p: torch.optim.Muon([x for x in p if x.ndim == 2], lr=0.1),
    "own": Momentum,
}


def steps(model: Any, optimizer: Any, scheduler: Any = None, count: int = 4) -> list[float]:
    losses = []
    for _ in range(count):
        batch = torch.randn(6, 4)

        def closure(batch: torch.Tensor = batch) -> torch.Tensor:
            optimizer.zero_grad()
            loss = model(batch).pow(2).mean()
            loss.backward()
            return loss  # type: ignore[no-any-return]

        loss = closure()
        optimizer.step(closure) if isinstance(optimizer, torch.optim.LBFGS) else optimizer.step()
        if isinstance(scheduler, schedules.ReduceLROnPlateau):
            scheduler.step(1.0)
        elif scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_with_the_same_bits(name: str, tmp_path: Path) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](list(model.parameters()))
    if name != "sgd before its first step":
        steps(model, optimizer)
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model, "optimizer": optimizer})
    saved = torch.load(path, weights_only=True)["optimizer_state_dicts"]
    assert values.same(saved, [optimizer.state_dict()])
    expected = steps(model, optimizer)
    again = net()
    fresh = OPTIMIZERS[name](list(again.parameters()))
    assert ckpt.load_checkpoint(path, {"model": again, "optimizer": fresh}).fully_restored
    assert steps(again, fresh) == expected
    assert values.same(fresh.state_dict(), optimizer.state_dict())


class Factor:
    """A schedule with a state of its own."""

    seen = 0

    def __call__(self, step: int) -> float:
        self.seen += 1
        return 0.9**self.seen


def sequential(o: Any) -> Any:
    return schedules.SequentialLR(o, [schedules.LinearLR(o, 0.1, total_iters=3), schedules.ExponentialLR(o, 0.8)], [3])


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, patience=1, cooldown=1),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.3, total_steps=20),
    "lambda": lambda o: schedules.LambdaLR(o, lambda step: 0.9**step),
    "lambda with a state": lambda o: schedules.LambdaLR(o, Factor()),
    "multiplicative": lambda o: schedules.MultiplicativeLR(o, lambda _: 0.9),
    "steps": lambda o: schedules.MultiStepLR(o, [2, 2, 5]),
    "cyclic": lambda o: schedules.CyclicLR(o, 0.01, 0.2, step_size_up=3),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3, 2),
    "sequential": sequential,
    "chained": lambda o: schedules.ChainedScheduler(
        [schedules.ConstantLR(o, 0.5, 2), schedules.ExponentialLR(o, 0.9)], optimizer=o
    ),
    "averaged": lambda o: torch.optim.swa_utils.SWALR(o, 0.05, anneal_epochs=3),
}


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*epoch parameter.*:UserWarning")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_goes_on_with_the_same_rates(name: str, tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = SCHEDULERS[name](optimizer)
    steps(model, optimizer, scheduler)
    path = ckpt.save_checkpoint(
        tmp_path / "a.pt", {"model": model, "optimizer": optimizer, "scheduler": {"main": scheduler}}
    )
    steps(model, optimizer, scheduler, 6)
    rates = [group["lr"] for group in optimizer.param_groups]
    again = net()
    fresh = torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9)
    other = SCHEDULERS[name](fresh)
    trainer = {"model": again, "optimizer": fresh, "scheduler": {"main": other}}
    assert ckpt.load_checkpoint(path, trainer).fully_restored
    steps(again, fresh, other, 6)
    assert [group["lr"] for group in fresh.param_groups] == rates
    assert values.same(dict(again.state_dict()), dict(model.state_dict()))


class Tied(torch.nn.Module):
    """A language model's habit: the embedding is the head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(1000, 20)
        self.head = torch.nn.Linear(20, 1000, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(3, dtype=torch.bool))
        self.register_buffer("passing", torch.ones(3), persistent=False)


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    model, again = Tied(), Tied()
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model})
    assert os.path.getsize(path) < 1000 * 20 * 4 * 1.5
    report = ckpt.load_checkpoint(path, {"model": again})
    assert set(report.loaded) == {"mask", "embedding.weight", "head.weight"}
    assert again.head.weight is again.embedding.weight
    assert torch.equal(again.head.weight, model.embedding.weight)


class Adapted(torch.nn.Module):
    """A frozen layer with a low-rank part beside it, which alone has an extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.base = torch.nn.Linear(4, 4).requires_grad_(False)
        self.down = torch.nn.Linear(4, 1, bias=False)
        self.up = torch.nn.Linear(1, 4, bias=False)
        self.merged = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"merged": self.merged}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.merged = state["merged"]


def test_adapters_and_extra_states_come_back(tmp_path: Path) -> None:
    """Regression: adapters could not be saved, because their objects were pickled."""
    model, again = Adapted(), Adapted()
    model.merged = 3
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model})
    assert ckpt.load_checkpoint(path, {"model": again}).fully_restored
    assert again.merged == 3
    assert torch.equal(again.up.weight, model.up.weight)
    assert not again.base.weight.requires_grad


@pytest.mark.parametrize("saved", ["plain", "whole", "part", "parallel"])
@pytest.mark.parametrize("restored", ["plain", "whole", "part", "parallel"])
def test_compiled_and_wrapped_models_have_the_same_names(saved: str, restored: str, tmp_path: Path) -> None:
    def made(how: str) -> Any:
        model = net()
        if how == "part":
            model[0] = torch.compile(model[0], backend="eager")  # type: ignore[index,assignment]
        elif how == "whole":
            return torch.compile(model, backend="eager")
        elif how == "parallel":
            return torch.nn.DataParallel(model)
        return model

    model, again = made(saved), made(restored)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model})
    assert "0.weight" in torch.load(path, weights_only=True)["model_state_dict"]
    assert ckpt.load_checkpoint(path, {"model": again}).fully_restored
    assert torch.equal(next(iter(again.parameters())), next(iter(model.parameters())))


def test_models_of_a_list_and_named_ones_come_back(tmp_path: Path) -> None:
    models = [torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)]
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"models": models})
    plain = torch.load(path, weights_only=True)
    assert list(plain["model_state_dict"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert plain["names"] == {"models": ["0", "1"]}
    named = {"1": torch.nn.Linear(2, 1), "0": torch.nn.Linear(2, 2)}
    assert ckpt.load_checkpoint(path, {"models": named}).fully_restored
    assert torch.equal(named["0"].weight, models[0].weight)


def test_settings_become_plain_data() -> None:
    import argparse
    import dataclasses
    import enum
    import types

    class Mode(enum.Enum):
        FAST = "fast"

    @dataclasses.dataclass
    class Inner:
        mode: Mode
        shape: tuple[int, ...]
        call: Any = len

    args = argparse.Namespace(inner=Inner(Mode.FAST, (1, 2)), out=Path("a/b"), names={"x"})
    found = config_of(args)
    assert found == {
        "inner": {"mode": "fast", "shape": (1, 2), "call": "<built-in function len>"},
        "out": "a/b",
        "names": ["x"],
    }
    assert config_of(types.SimpleNamespace(a=1)) == {"a": 1}
    assert config_of(None) is config_of(3) is None


@pytest.mark.parametrize("optimizers", [[3], {"a": 3, "b": torch.nn.Linear(1, 1)}])
def test_what_tells_no_state_is_refused(optimizers: Any, tmp_path: Path) -> None:
    with pytest.raises(StateError):
        ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(1, 1), "optimizer": optimizers})
