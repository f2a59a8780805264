"""A restore changes everything or nothing, says what it did, and can be of the weights alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.exceptions import AddressError, CheckpointError, CorruptError, StateError
from ckpt.hook import TrainingHook
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.saving.by_hand import save_checkpoint
from ckpt.state import TrainingState, values

torch.set_num_threads(1)


class Meter:
    """Keeps a number and a tensor; refuses a state that says so."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        self.sums = torch.full((3,), value)
        self.refuses = False

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]
        self.sums.copy_(state["sums"])
        if self.refuses:
            raise RuntimeError("not this one")


class Stubborn(torch.nn.Module):
    """Takes its weights, and then refuses its extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(2, 1)
        self.refuses = False

    def get_extra_state(self) -> int:
        return 1

    def set_extra_state(self, state: int) -> None:
        if self.refuses:
            raise ValueError("no")


class Training:
    def __init__(self, seed: int, steps: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = Stubborn()
        self.ema = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 1))
        self.meter = Meter(float(seed))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.model.inner(torch.randn(4, 2)).pow(2).mean().backward()
            self.optimizer.step()
            self.scheduler.step()

    def everything(self) -> Any:
        states: list[Any] = [self.model, self.ema, self.meter, self.optimizer, self.scheduler]
        return copy.deepcopy([item.state_dict() for item in states])

    def give(self, manager: CheckpointManager, **options: Any) -> Any:
        manager.register("ema", self.ema)
        manager.register("meter", self.meter)
        return manager.restore_from_checkpoint(self.model, self.optimizer, self.scheduler, **options)


def state(step: int, **metrics: float) -> TrainingState:
    return TrainingState(epoch=step, global_step=step * 10, learning_rate=0.1, loss=0.5, metrics=metrics)


@pytest.fixture
def manager(tmp_path: Path) -> Any:
    with Run.create("r", tmp_path) as run:
        made = CheckpointManager(run)
        first = Training(1, steps=3)
        made.register("ema", first.ema)
        made.register("meter", first.meter)
        made.save_checkpoint(first.model, state(1), optimizers=first.optimizer, schedulers=first.scheduler)
        yield made


def test_registered_objects_come_back_by_name(manager: CheckpointManager) -> None:
    other = Training(2)
    report = other.give(manager)
    assert report.fully_restored
    assert report.registered == ("ema", "meter")
    assert values.same(other.everything(), Training(1, steps=3).everything())


@pytest.mark.parametrize("refusing", ["meter", "model", "scheduler", "optimizer", "ema"])
def test_when_one_refuses_all_are_as_they_were(
    refusing: str, manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: an optimizer that refused left the training with new weights and its own old states."""
    other = Training(2, steps=5)
    before = other.everything()
    if refusing in ("meter", "model"):
        getattr(other, refusing).refuses = True
    elif refusing == "ema":
        other.ema = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(3, 1))
        before = other.everything()
    else:
        kind = type(getattr(other, refusing))
        taking = kind.load_state_dict

        def refuse_once(item: Any, given: Any) -> None:
            monkeypatch.undo()
            taking(item, given)
            raise KeyError("no")

        monkeypatch.setattr(kind, "load_state_dict", refuse_once)
    random = torch.get_rng_state()
    with pytest.raises(CheckpointError, match="refused its"):
        other.give(manager)
    assert torch.equal(torch.get_rng_state(), random)
    other.model.refuses = other.meter.refuses = False
    assert values.same(other.everything(), before)


def test_moments_of_other_shapes_are_refused_before_anything_changes(tmp_path: Path) -> None:
    """Torch takes them without a word, and fails at the next step."""
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        manager.save_checkpoint({"w": torch.ones(1)}, state(1), optimizers=optimizer)
        other = torch.optim.Adam(torch.nn.Linear(4, 2).parameters())
        with pytest.raises(CheckpointError, match=r"exp_avg of parameter 0: \[2, 3\] in the checkpoint, \[2, 4\]"):
            manager.restore_from_checkpoint(optimizers=other)
        assert other.state_dict()["state"] == {}


def test_what_was_registered_at_one_end_alone_is_told(manager: CheckpointManager, tmp_path: Path) -> None:
    with Run.create("s", tmp_path) as run:
        second = CheckpointManager(run)
        second.register("another", Meter())
        model = Stubborn()
        path = manager.get_checkpoint_info().path
        with pytest.raises(CheckpointError, match="no state of 'another' was saved"):
            second.restore_from_checkpoint(model, ref=path)
        report = second.restore_from_checkpoint(model, ref=path, strict=False)
        assert "no state of 'another' was saved" in report.notes
        assert "the state of 'ema' was saved, and nothing is registered under that name" in report.notes
        assert not report.fully_restored


@pytest.mark.parametrize(
    ("name", "item", "told"),
    [
        ("model", Meter(), "a part that every training has"),
        ("rng.mine", Meter(), "a part that every training has"),
        ("", Meter(), "no text"),
        ("a", 3, "no state_dict"),
        ("a", Meter, "no state_dict"),
    ],
)
def test_what_cannot_be_registered(name: str, item: Any, told: str, manager: CheckpointManager) -> None:
    with pytest.raises(StateError, match=told):
        manager.register(name, item)


def test_a_name_that_is_taken_is_told_with_one_that_is_not(manager: CheckpointManager) -> None:
    with pytest.raises(StateError) as refused:
        manager.register("rng", Meter())
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("register('my_rng', …) works; taken are what begins with rng, and config, ")
    manager.register("my_rng", Meter())


def test_a_warm_start_takes_weights_alone_and_counts_from_zero(manager: CheckpointManager) -> None:
    other = Training(2, steps=5)
    before = other.everything()
    random = torch.get_rng_state()
    report = other.give(manager, weights_only=True)
    assert report.warm_start
    assert (report.next_epoch, report.next_step, report.epoch, report.global_step) == (0, 0, 1, 10)
    assert (report.optimizers, report.schedulers, report.registered, report.random) == (0, 0, (), False)
    assert torch.equal(torch.get_rng_state(), random)
    assert values.same(other.everything()[1:], before[1:])
    assert torch.equal(other.model.inner.weight, Training(1, steps=3).model.inner.weight)


def test_a_hook_starts_warm_and_goes_on_with_its_own(tmp_path: Path) -> None:
    """Auto-resume: the run's own checkpoints before a given one, which stands in as long as there is none."""
    base = torch.nn.Linear(2, 1)
    path = save_checkpoint(tmp_path / "base.pt", {"model": base, "epoch": 7, "global_step": 70})
    for expected in ((7, 70), (8, 71)):
        model = torch.nn.Linear(2, 1)
        with TrainingHook(model, tmp_path / "r") as hook:
            report = hook.resume(fallback=path)
            assert report is not None
            assert (hook.epoch, hook.global_step) == expected
            assert torch.equal(model.weight, base.weight)
            hook.step(0.5)
            hook.epoch_end()
    with TrainingHook(torch.nn.Linear(2, 1), tmp_path / "warm") as hook:
        assert hook.resume() is None
        hook.load_checkpoint(path, weights_only=True)
        assert (hook.epoch, hook.global_step) == (0, 0)


def test_a_damaged_run_does_not_start_over_from_the_fallback(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "base.pt", {"model": {"w": torch.ones(2)}})
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        manager.save_checkpoint({"w": torch.zeros(2)}, state(1))
        info = manager.get_checkpoint_info()
        Path(info.path).write_bytes(b"gone")
        with pytest.raises(CorruptError):
            manager.restore_from_checkpoint({"w": torch.zeros(2)}, fallback=path)
        with pytest.raises(AddressError):
            manager.restore_from_checkpoint({"w": torch.zeros(2)}, ref="step:99", fallback=path)


def test_tensors_go_where_they_are_wanted(manager: CheckpointManager) -> None:
    loaded = manager.load_checkpoint(map_location="meta")
    assert {value.device.type for value in loaded["weights"].values() if isinstance(value, torch.Tensor)} == {"meta"}
    report = Training(2).give(manager, map_location=torch.device("cpu"))
    assert report.fully_restored


def test_names_of_optimizers_and_schedulers_match(tmp_path: Path) -> None:
    models = {"a": torch.nn.Linear(2, 1), "b": torch.nn.Linear(2, 1)}
    rates = {"a": 0.1, "b": 0.2}
    optimizers = {n: torch.optim.SGD(models[n].parameters(), lr=rates[n]) for n in models}
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        manager.save_checkpoint(models, state(1), optimizers=optimizers)
        turned = {n: torch.optim.SGD(models[n].parameters(), lr=1.0) for n in ("b", "a")}
        assert manager.restore_from_checkpoint(models, turned).optimizers == 2
        assert {n: o.param_groups[0]["lr"] for n, o in turned.items()} == rates
        with pytest.raises(CheckpointError, match="optimizers a, b were saved, a, c are wanted"):
            manager.restore_from_checkpoint(models, {"a": turned["a"], "c": turned["b"]})
        listed = [torch.optim.SGD(models[n].parameters(), lr=1.0) for n in ("b", "a")]
        with pytest.raises(CheckpointError, match="a, b were saved, 2 without names are wanted"):
            manager.restore_from_checkpoint(models, listed)
        report = manager.restore_from_checkpoint(models, listed, strict=False)
        assert report.optimizers == 0 and not report.fully_restored
        assert [o.param_groups[0]["lr"] for o in listed] == [1.0, 1.0]


def test_what_is_switched_off_is_told_at_the_restore(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run, CheckpointConfig(save_optimizer_state=False, save_random_state=False))
        model = torch.nn.Linear(2, 1)
        manager.save_checkpoint(model, state(1), optimizers=torch.optim.SGD(model.parameters(), lr=0.1))
        report = manager.restore_from_checkpoint(model)
        assert report.left_out["optimizer"] == "save_optimizer_state is off"
        assert report.left_out["rng"] == "save_random_state is off"
        assert report.left_out["scheduler"] == "none was given"


def test_the_history_of_metrics_goes_on_behind_a_resume(tmp_path: Path) -> None:
    for expected in ([1, 2, 3], [1, 2, 3, 4, 5, 6]):
        with TrainingHook(torch.nn.Linear(2, 1), tmp_path / "r") as hook:
            hook.resume()
            for _ in range(3):
                hook.step(0.5, acc=hook.global_step)
            saved = hook.epoch_end()
        history = torch.load(str(saved), weights_only=True)["metrics_history"]
        assert history["global_step"] == expected
        assert history["acc"] == [step - 1 for step in expected]


def test_a_rank_that_comes_before_the_run_is_made_takes_the_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = torch.nn.Linear(2, 2)
    save_checkpoint(tmp_path / "given.pt", {"model": given})
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    model = torch.nn.Linear(2, 2)
    manager = CheckpointManager(tmp_path / "runs" / "new")
    manager.restore_from_checkpoint(model, fallback=tmp_path / "given.pt", random=False)
    assert torch.equal(model.weight, given.weight)
    assert not (tmp_path / "runs").exists()
