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


@pytest.mark.parametrize(
    ("epoch", "step"),
    [
        (np.int64(3), np.float32(7.0)),
        (torch.tensor(3), torch.tensor([7.0])),
        (3.0, np.array(7)),
    ],
)
def test_counts_of_any_kind_of_number_are_taken_and_set(epoch: Any, step: Any, tmp_path: Path) -> None:
    trainer = {"model": torch.nn.Linear(1, 1), "epoch": epoch, "global_step": step, "loss": torch.tensor(0.5)}
    trainer["metrics"] = {"a": torch.tensor(0.25), "b": np.float32(2)}
    path = ckpt.save_checkpoint(tmp_path / "a.pt", trainer)
    held = torch.load(path, weights_only=True)
    assert (held["epoch"], held["global_step"], held["loss"]) == (3, 7, 0.5)
    assert held["metrics"] == {"a": 0.25, "b": 2.0}
    again = {"model": torch.nn.Linear(1, 1), "epoch": torch.tensor(0), "global_step": np.int64(0)}
    kept = again["epoch"]
    ckpt.load_checkpoint(path, again)
    assert (int(kept), again["global_step"]) == (3, 7)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("field", "value"), [("epoch", 1.5), ("epoch", "three"), ("step", [3]), ("loss", torch.ones(2)), ("loss", "low")]
)
def test_a_count_or_loss_that_is_none_is_refused_and_not_taken_for_zero(field: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=field):
        ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(1, 1), field: value})
    assert os.listdir(tmp_path) == []


def test_metrics_that_are_no_numbers_and_second_objects_are_told(tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.metrics = {"a": 0.5, "curve": [1, 2]}  # type: ignore[dict-item]
    trainer.loss = torch.nn.MSELoss()  # type: ignore[attr-defined]
    trainer.net = torch.nn.Linear(1, 1)  # type: ignore[attr-defined]
    path = ckpt.save_checkpoint(tmp_path / "a.pt", trainer)
    left_out = ckpt.formats.inspect(path).resume["left_out"]
    assert left_out["metrics.curve"] == "it is a list, not one number"
    assert left_out["net"] == "another object was taken as the model"
    assert torch.load(path, weights_only=True)["metrics"] == {"a": 0.5}


def test_a_class_is_no_trainer(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="the trainer is the class Captured"):
        ckpt.save_checkpoint(tmp_path / "a.pt", Captured)


@pytest.mark.parametrize("name", ["rng.mine", "metrics_history", "config", 3])
def test_names_that_cannot_be_registered_are_refused(name: Any, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=str(name)):
        ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(1, 1), name: Loader()})


@pytest.mark.parametrize(
    "place", ["run.json", "checkpoints/latest.pt", "checkpoints/MARKER", "states.jsonl", ".trash/a/b.pt"]
)
def test_files_that_a_run_keeps_itself_are_never_overwritten(place: str, tmp_path: Path) -> None:
    state = ckpt.TrainingState(epoch=1, global_step=1, learning_rate=0.1, loss=0.5)
    with Run.create("r", tmp_path) as run:
        handle = ckpt.CheckpointManager(run).save_checkpoint({"w": torch.ones(2)}, state)
        saved = Path(os.fspath(handle))  # type: ignore[arg-type]
    directory = saved.parents[1]
    (directory / ".trash" / "a").mkdir(parents=True)
    target = directory / place.replace("MARKER", saved.with_suffix(".json").name)
    before = target.read_bytes() if target.exists() else None
    with pytest.raises(SaveError, match="a run"):
        ckpt.save_checkpoint(target, {"model": torch.nn.Linear(1, 1)})
    assert (target.read_bytes() if target.exists() else None) == before
    assert ckpt.save_checkpoint(directory / "mine.pt", {"model": torch.nn.Linear(1, 1)}).exists()


def test_a_link_stays_and_leads_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"old")
    (tmp_path / "link.pt").symlink_to("a.pt")
    saved = ckpt.save_checkpoint(tmp_path / "link.pt", {"model": torch.nn.Linear(1, 1), "epoch": 2})
    assert saved == tmp_path / "a.pt"
    assert (tmp_path / "link.pt").is_symlink()
    assert torch.load(tmp_path / "link.pt", weights_only=True)["epoch"] == 2


def test_what_is_no_plain_file_or_no_name_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, told in (
        ("pipe", "no plain file"),
        ("loop", "no plain file"),
        ("a" * 256, "cannot be"),
        ("a\0b", "no path"),
    ):
        with pytest.raises(SaveError, match=told) as caught:
            ckpt.save_checkpoint(tmp_path / name, {"model": torch.nn.Linear(1, 1)})
        assert caught.value.hint
    longest = "é" * 126 + ".pt"
    assert ckpt.save_checkpoint(tmp_path / longest, {"model": torch.nn.Linear(1, 1)}).exists()


def test_a_new_file_whose_directory_cannot_be_made_durable_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(2, 1), "epoch": 1})

    def fails(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "fsync_directory", fails)
    with pytest.raises(SaveError, match="Input/output error") as caught:
        ckpt.save_checkpoint(path, {"model": torch.nn.Linear(2, 1), "epoch": 2})
    assert "the new file is in its place" in str(caught.value.hint)
    assert torch.load(path, weights_only=True)["epoch"] == 2
