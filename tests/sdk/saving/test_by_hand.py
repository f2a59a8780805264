"""One file by hand, without a run: any trainer, all of its state, whole or not at all."""

from __future__ import annotations

import argparse
import errno
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ckpt
from ckpt import files
from ckpt.exceptions import CheckpointError, SaveError, StateError
from ckpt.runs import Run
from ckpt.state import values

torch.set_num_threads(1)


class Loader:
    """A loader that knows where it is."""

    position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


class Trainer:
    """What many people's trainers look like."""

    def __init__(self) -> None:
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.3))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.lr_scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
        self.train_loader: Any = Loader()
        self.scaler = torch.amp.GradScaler("cpu")
        self.current_epoch = 0
        self.global_step = 0
        self.metrics = {"val_loss": 0.5}
        self.args = argparse.Namespace(lr=0.1, out=Path("runs/a"))

    def train(self, count: int) -> list[float]:
        losses = []
        for _ in range(count):
            self.optimizer.zero_grad()
            loss = (self.model(torch.randn(5, 3)) * (np.random.rand() + random.random())).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            self.lr_scheduler.step()
            self.train_loader.position += 1
            self.global_step += 1
            losses.append(loss.item())
        return losses


def test_a_trainer_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.train(3)
    trainer.current_epoch = 4
    path = ckpt.save_checkpoint(tmp_path / "a.pt", trainer)
    assert path == tmp_path / "a.pt"
    expected = trainer.train(5)
    again = Trainer()
    report = ckpt.load_checkpoint(path, again)
    assert report.fully_restored
    assert (again.current_epoch, again.global_step, again.train_loader.position) == (4, 3, 3)
    assert (report.optimizers, report.schedulers, report.loaders, report.scaler, report.random) == (1, 1, 1, True, True)
    assert again.train(5) == expected
    plain = torch.load(path, weights_only=True)
    assert plain["config_snapshot"] == {"lr": 0.1, "out": "runs/a"}
    assert plain["metrics"] == {"val_loss": 0.5}
    assert os.listdir(tmp_path) == ["a.pt"]


class Captured:
    """A trainer that says itself what it is made of."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {
            "models": {"generator": torch.nn.Linear(2, 2), "critic": torch.nn.Linear(2, 1)},
            "ema": torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2)),
            "noise": torch.Generator().manual_seed(4),
            "epoch": 1,
        }
        models = self.parts["models"]
        self.parts["optimizers"] = {n: torch.optim.SGD(m.parameters(), lr=0.1) for n, m in models.items()}
        self.epoch = 3

    def capture(self) -> dict[str, Any]:
        return {**self.parts, "epoch": self.epoch}


def test_what_capture_names_is_captured_and_comes_back(tmp_path: Path) -> None:
    trainer, again = Captured(), Captured()
    path = ckpt.save_checkpoint(tmp_path / "a.pt", trainer)
    again.epoch = 0
    report = ckpt.load_checkpoint(path, again)
    assert report.registered == ("ema", "noise")
    assert report.optimizers == 2
    assert again.epoch == 3
    for name, model in trainer.parts["models"].items():
        assert values.same(dict(model.state_dict()), dict(again.parts["models"][name].state_dict()))
    assert torch.equal(trainer.parts["ema"].module.weight, again.parts["ema"].module.weight)
    drawn = [torch.rand(3, generator=t.parts["noise"]) for t in (trainer, again)]
    assert torch.equal(drawn[0], drawn[1])


def test_a_mapping_is_a_trainer_and_its_counts_are_set(tmp_path: Path) -> None:
    trainer = {"model": torch.nn.Linear(2, 1), "epoch": 5, "global_step": 9}
    path = ckpt.save_checkpoint(tmp_path / "a.pt", trainer)
    again = {"model": torch.nn.Linear(2, 1), "epoch": 0, "global_step": 0}
    ckpt.load_checkpoint(path, again)
    assert (again["epoch"], again["global_step"]) == (5, 9)
    report = ckpt.load_checkpoint(path, again, weights_only=True)
    assert (again["epoch"], again["global_step"], report.warm_start) == (0, 0, True)


def test_what_is_left_out_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = Trainer()
    trainer.train_loader = torch.utils.data.DataLoader([1, 2])  # type: ignore[arg-type]
    trainer.ema = torch.optim.swa_utils.AveragedModel(trainer.model)  # type: ignore[attr-defined]
    path = ckpt.save_checkpoint(tmp_path / "a.pt", trainer)
    report = ckpt.load_checkpoint(path, trainer)
    assert "DataLoader, which has no state_dict()" in report.left_out["loaders"]
    assert "not registered" in report.left_out["ema"]
    assert "does not hold ema: it is not registered" in caplog.text
    assert ckpt.formats.inspect(path).resume["left_out"] == report.left_out


@pytest.mark.parametrize("trainer", [object(), {}, {"epoch": 1}, 3])
def test_what_has_no_model_is_no_trainer(trainer: Any, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="has no model"):
        ckpt.save_checkpoint(tmp_path / "a.pt", trainer)
    assert os.listdir(tmp_path) == []


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(2, 1), "epoch": 1})
    before = path.read_bytes()

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files, "publish", fails)
        with pytest.raises(SaveError, match="Input/output error"):
            ckpt.save_checkpoint(path, {"model": torch.nn.Linear(2, 1), "epoch": 2})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pt"]
    ckpt.save_checkpoint(path, {"model": torch.nn.Linear(2, 1), "epoch": 2})
    assert torch.load(path, weights_only=True)["epoch"] == 2
    assert os.listdir(tmp_path) == ["a.pt"]


def test_a_checkpoint_of_a_run_is_never_overwritten(tmp_path: Path) -> None:
    state = ckpt.TrainingState(epoch=1, global_step=1, learning_rate=0.1, loss=0.5)
    with Run.create("r", tmp_path) as run:
        handle = ckpt.CheckpointManager(run).save_checkpoint({"w": torch.ones(2)}, state)
        saved = Path(os.fspath(handle))  # type: ignore[arg-type]
    with pytest.raises(SaveError, match="is a checkpoint of a run"):
        ckpt.save_checkpoint(saved, {"model": {"w": torch.zeros(2)}})
    tensors = {"w": torch.zeros(2)}
    ckpt.load_checkpoint(saved, {"model": tensors})
    assert torch.equal(tensors["w"], torch.ones(2))


@pytest.mark.parametrize(("place", "told"), [("none/a.pt", "is no directory"), (".", "is a directory")])
def test_a_place_that_cannot_be_written_to(place: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=told):
        ckpt.save_checkpoint(tmp_path / place, {"model": torch.nn.Linear(1, 1)})


def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(2, 1), "epoch": 3})
    other: dict[str, Any] = {"model": torch.nn.Linear(3, 1), "epoch": 0}
    before = other["model"].weight.clone()
    with pytest.raises(CheckpointError, match=r"weight: \[1, 2\] in the checkpoint, \[1, 3\] in the model"):
        ckpt.load_checkpoint(path, other)
    assert other["epoch"] == 0
    assert torch.equal(other["model"].weight, before)
    report = ckpt.load_checkpoint(path, other, strict=False)
    assert report.loaded == ("bias",)


def test_a_hook_is_a_trainer(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    with ckpt.TrainingHook(model, tmp_path / "r", optimizer=torch.optim.SGD(model.parameters(), lr=0.1)) as hook:
        hook.step(0.5)
        hook.step(0.25)
        path = ckpt.save_checkpoint(tmp_path / "a.pt", hook)
        hook.global_step = 0
        ckpt.load_checkpoint(path, hook)
        assert hook.global_step == 2
