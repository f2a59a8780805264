"""What the bench of saving saves, and what trains meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

BIG_STEP_S = 11e-3
PY_STEP_S = 1e-3


class Workload:
    """Tensors of about that many bytes in all.

    `plain` is 100 tensors by name; `adamw` is a model of 101 parameters with AdamW's three states of each, 404 in all.
    """

    def __init__(self, kind: str, size: int) -> None:
        self.model: torch.nn.Module | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        if kind == "plain":
            self.tensors = {f"layers.{number}.weight": torch.rand(size // 400) for number in range(100)}
        else:
            layers = [torch.nn.Linear(size // (12 * 101), 1, bias=False) for _ in range(101)]
            self.model = torch.nn.Sequential(*layers)
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
            for parameter in self.model.parameters():
                parameter.grad = torch.rand_like(parameter)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            states = self.optimizer.state_dict()["state"]
            self.tensors = dict(self.model.state_dict())
            for number, state in states.items():
                self.tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        self.bytes = sum(tensor.nbytes for tensor in self.tensors.values())

    def content(self) -> dict[str, Any]:
        """What those who take one dictionary save."""
        if self.model is None or self.optimizer is None:
            return {"model": self.tensors}
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    @torch.no_grad()
    def change(self, share: float = 1.0) -> None:
        """Changes every value of the first `share` of the tensors, as training would."""
        for tensor in list(self.tensors.values())[: round(share * len(self.tensors))]:
            tensor.add_(1e-3)


def big_step() -> Callable[[], None]:
    """A step that computes in torch: an MLP forward, backward and update in about BIG_STEP_S."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(1024, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1024)]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step_of(batch: torch.Tensor) -> Callable[[], None]:
        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            model(batch).square().mean().backward()
            optimizer.step()

        return step

    rows = 8
    while step_seconds(step_of(torch.rand(rows, 1024)), 0.2) < BIG_STEP_S and rows < 1024:
        rows += 8
    return step_of(torch.rand(rows, 1024))


def py_step() -> Callable[[], None]:
    """A step that holds the interpreter lock: plain Python in about PY_STEP_S."""

    def step_of(count: int) -> Callable[[], None]:
        def step() -> None:
            total = 0
            for number in range(count):
                total += number * number

        return step

    return step_of(max(100, int(1000 * PY_STEP_S / step_seconds(step_of(1000), 0.2))))


STEPS = {"big": big_step, "py": py_step}


def step_seconds(step: Callable[[], None], for_s: float) -> float:
    """Mean seconds of a step, over about that long."""
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < for_s:
        step()
        count += 1
    return (time.perf_counter() - begun) / count
