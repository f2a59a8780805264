"""Runs as other tools write them, below a root that is enforced, at a time when all of it has settled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptd.keeping import waits
from ckptd.keeping.clock import Clock

LATER_S = 7200.0
"""How far ahead the keeper's clock stands: what was written just now is old enough then."""


class Foreign:
    """Writes runs of other tools: what their files hold, without a training."""

    def __init__(self, base: Path) -> None:
        self.base = base
        base.mkdir(parents=True, exist_ok=True)

    def transformers(self, name: str = "sft", steps: tuple[int, ...] = (10, 20, 30, 40, 50)) -> Path:
        """A run of Hugging Face's Trainer: a directory a step, whose eval_loss falls; its best is the newest."""
        for step in steps:
            self.transformers_step(name, step, best=steps[-1])
        return self.base / name

    def transformers_step(self, name: str, step: int, *, best: int, eval_loss: float | None = None) -> Path:
        import torch
        from safetensors.torch import save_file

        run = self.base / name
        directory = run / f"checkpoint-{step}"
        directory.mkdir(parents=True)
        loss = 1.0 - step / 1000 if eval_loss is None else eval_loss
        weights = {"fc.weight": torch.full((4, 3), float(step))}
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        moments = {0: {"step": torch.tensor(float(step)), "exp_avg": torch.zeros(4, 3)}}
        torch.save({"state": moments, "param_groups": [{"lr": 0.1}]}, directory / "optimizer.pt")
        (directory / "config.json").write_text(json.dumps({"model_type": "tiny", "architectures": ["Tiny"]}))
        state = {
            "epoch": step / 10,
            "global_step": step,
            "best_metric": 1.0 - best / 1000,
            "best_model_checkpoint": str(run / f"checkpoint-{best}"),
            "log_history": [{"step": step, "epoch": step / 10, "eval_loss": loss}],
            "max_steps": 1000,
        }
        (directory / "trainer_state.json").write_text(json.dumps(state))
        return directory

    def lightning(self, name: str = "lit", epochs: int = 5) -> Path:
        """A run of Lightning without a tracked best: a file an epoch."""
        import torch

        run = self.base / name / "checkpoints"
        run.mkdir(parents=True)
        for epoch in range(epochs):
            torch.save(
                {
                    "epoch": epoch,
                    "global_step": (epoch + 1) * 100,
                    "pytorch-lightning_version": "2.6.0",
                    "state_dict": {"fc.weight": torch.full((4, 3), float(epoch))},
                    "loops": {},
                    "callbacks": {},
                    "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(4, 3)}}, "param_groups": []}],
                    "lr_schedulers": [],
                },
                run / f"epoch={epoch}-step={(epoch + 1) * 100}.ckpt",
            )
        return run


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the keeper's clock ahead by so many seconds."""

    def set_ahead(seconds: float) -> None:
        monkeypatch.setattr(Clock, "now", lambda self: time.time() + seconds)

    set_ahead(LATER_S)
    return set_ahead


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass, as a clock counts them that nobody sets."""
    steady, ahead = waits.steady, [0.0]
    monkeypatch.setattr(waits, "steady", lambda: steady() + ahead[0])

    def go_on(seconds: float) -> None:
        ahead[0] += seconds

    return go_on


@pytest.fixture
def foreign(tmp_path: Path, later: Any) -> Foreign:
    """A maker of other tools' runs below `tmp_path/lab`."""
    return Foreign(tmp_path / "lab")


@pytest.fixture
def enforced(world: Any, foreign: Foreign) -> Callable[..., None]:
    """`enforced(keep_last=2)` makes the lab an enforced root, its first plan confirmed, under that policy."""

    def enforce(path: Path | None = None, **policy: Any) -> None:
        root = str(path or foreign.base)
        given = {"monitor": "none", "max_share": 1.0, "min_age": 0, **policy}
        world.roots.add(root, "observe", [])
        world.roots.set_policy(root, given)
        world.roots.enforce(root)
        world.scanner.full()

    return enforce
