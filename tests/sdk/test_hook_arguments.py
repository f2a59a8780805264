"""TrainingHook and manager with arguments that cannot be what their places say: refused at once, with what would do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.exceptions import StateError, UsageError
from ckpt.hook import TrainingHook
from ckpt.saving import CheckpointManager
from ckpt.state import TrainingState

MODEL = torch.nn.Linear(2, 1)
ADAM = torch.optim.Adam(MODEL.parameters())
STEPPED = torch.optim.lr_scheduler.StepLR(ADAM, 1)
PLATEAU = torch.optim.lr_scheduler.ReduceLROnPlateau(ADAM)


class Plain:
    """A loader as most are: it tells nothing of its position."""

    def __iter__(self) -> Any:
        return iter([1, 2])


class Telling(Plain):
    def __init__(self) -> None:
        self.position = 3

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"model": None}, "^model is None"),
        ({"model": "net"}, "^model is the text 'net'"),
        ({"model": torch.nn.Linear}, r"^model is the class Linear\ngive an object of it: Linear\("),
        ({"model": {"a": 3}}, r"^model\['a'\] is an int"),
        ({"optimizer": torch.optim.Adam}, "^optimizer is the class Adam"),
        ({"optimizer": STEPPED}, "^optimizer is a StepLR\n.*give it as scheduler"),
        ({"optimizer": PLATEAU}, "^optimizer is a ReduceLROnPlateau\n.*give it as scheduler"),
        ({"optimizer": MODEL}, "^optimizer is a Linear\n.*give it as model"),
        ({"optimizer": 0.1}, r"^optimizer is a float\n.*state_dict\(\)"),
        ({"scheduler": ADAM}, "^scheduler is an Adam\n.*give it as optimizer"),
        ({"scaler": ADAM}, "^scaler is an Adam\n.*give it as optimizer"),
        ({"run": ADAM}, "^run is an Adam\n.*directory"),
        ({"config": ADAM}, "^config is an Adam\n.*CheckpointConfig"),
        ({"start_epoch": -1}, "^start_epoch is -1"),
        ({"loaders": 3}, "^loaders is an int"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(StateError, match=told):
        TrainingHook(**{"model": MODEL, "run": tmp_path / "r", **given})
    assert not (tmp_path / "r").exists()


def test_model_and_run_the_wrong_way_round(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="the model comes first"):
        TrainingHook(str(tmp_path / "r"), MODEL)  # type: ignore[arg-type]


def test_a_misspelt_argument_is_named_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no argument 'optimiser'\ndid you mean optimizer"):
        TrainingHook(MODEL, tmp_path / "r", optimiser=ADAM)  # type: ignore[arg-type]
    assert not (tmp_path / "r").exists()


def test_what_wraps_or_stands_for_them_is_taken(tmp_path: Path) -> None:
    class Wrapper:
        """As accelerate wraps an optimizer."""

        def __init__(self) -> None:
            self.optimizer = ADAM
            self.param_groups = ADAM.param_groups
            self.state_dict, self.load_state_dict, self.step = ADAM.state_dict, ADAM.load_state_dict, ADAM.step

    for name, (model, optimizer, scheduler) in enumerate(
        [
            (MODEL, Wrapper(), [STEPPED, PLATEAU]),
            ({"a": MODEL, "b": MODEL}, {"a": ADAM, "b": ADAM}, {"a": STEPPED}),
            (dict(MODEL.state_dict()), ADAM.state_dict(), None),
        ]
    ):
        with TrainingHook(model, tmp_path / str(name), None, optimizer, scheduler) as hook:
            assert hook.epoch_end(0, loss=1) is not None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"optimizers": torch.optim.Adam}, "optimizer is the class Adam"),
        ({"optimizers": STEPPED}, "give it as scheduler"),
        ({"schedulers": ADAM}, "give it as optimizer"),
    ],
)
def test_a_manager_refuses_them_too(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    manager = CheckpointManager(tmp_path / "r")
    with pytest.raises(StateError, match=told):
        manager.save_checkpoint(MODEL, TrainingState(0, 0, 0.1, 0.5), **given)


def test_a_loader_that_tells_no_position_is_left_out_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with TrainingHook(MODEL, tmp_path / "r", loaders=Plain()) as hook:
        assert [record.message for record in caplog.records] == [
            "checkpoints are saved without a position in the data: loaders: a Plain tells no position; "
            "a ckpt.ResumableLoader does, and so does torchdata's StatefulDataLoader"
        ]
        hook.epoch_end(0, loss=1)
        hook.epoch_end(1, loss=1)
        report = hook.resume()
        assert report is not None
        assert report.left_out["loaders"].startswith("a Plain tells no position; a ckpt.ResumableLoader does")
        assert report.fully_restored
    assert len(caplog.records) == 1


def test_beside_one_that_tells_its_position_the_other_alone_is_left_out(tmp_path: Path) -> None:
    train, other = Telling(), Telling()
    with TrainingHook(MODEL, tmp_path / "r", loaders={"train": train, "val": Plain(), "other": other}) as hook:
        hook.epoch_end(0, loss=1)
        train.position = other.position = 9
        report = hook.resume()
        assert report is not None
        assert (report.loaders, train.position, other.position) == (2, 3, 3)
        assert set(report.left_out) >= {"loaders.val"}


def test_metrics_in_a_mapping_are_told_to_be_unfolded(tmp_path: Path) -> None:
    with TrainingHook(MODEL, tmp_path / "r") as hook:
        with pytest.raises(StateError, match=r"unfold it: epoch_end\(epoch, \*\*metrics\)"):
            hook.epoch_end(3, metrics={"val": 1.0})
        with pytest.raises(StateError, match="epoch is -1"):
            hook.epoch_end(-1)
        assert (hook.epoch, hook.global_step) == (0, 0)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_metric_that_never_comes_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = CheckpointConfig(save_every_n_epochs=1, save_on_best_metric="val_loss")
    with TrainingHook(MODEL, tmp_path / "r", config) as hook:
        for epoch in range(3):
            hook.epoch_end(epoch, loss=1, vall_loss=0.5)
        assert warnings_of(caplog) == [
            "no metric 'val_loss' was reported so far, and save_on_best_metric names it; did you mean vall_loss?"
        ]
    assert warnings_of(caplog)[1:] == [
        "no metric 'val_loss' was ever reported, so no checkpoint was saved as the best; did you mean vall_loss?"
    ]


def test_a_metric_that_comes_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, metric in enumerate(("val_loss", "loss")):
        config = CheckpointConfig(save_every_n_epochs=1, save_on_best_metric=metric)
        with TrainingHook(MODEL, tmp_path / str(number), config) as hook:
            hook.step(1.0, val_loss=0.5)
            hook.epoch_end(0)
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("ended_by", ["hook", "run"])
def test_a_closed_hook_says_so_whatever_is_asked_of_it(tmp_path: Path, ended_by: str) -> None:
    hook = TrainingHook(MODEL, tmp_path / "r")
    hook.epoch_end(0, loss=1)
    (hook if ended_by == "hook" else hook.run).close()
    for ask in (lambda: hook.step(1.0), lambda: hook.epoch_end(1, loss=1), hook.save):
        with pytest.raises(UsageError, match="the hook is closed\nmake a new TrainingHook"):
            ask()
    assert hook.run.attempt == 1
    with TrainingHook(MODEL, hook.run) as again:
        again.epoch_end(1, loss=1)
        assert again.run.attempt == 2
