"""TrainingHook: two or three lines in somebody else's loop."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.exceptions import CheckpointError
from ckpt.hook import TrainingHook
from ckpt.runs import Run
from ckpt.state import values

torch.set_num_threads(1)


class Loop:
    """A loop with batch normalisation, momentum and a scheduler."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5)

    def hook(self, run: Any, config: CheckpointConfig | None = None) -> TrainingHook:
        return TrainingHook(self.model, run, config, self.optimizer, self.scheduler, batch_size=8)

    def epoch(self, hook: TrainingHook, epoch: int, batches: int = 4, **metrics: Any) -> None:
        for _ in range(batches):
            self.optimizer.zero_grad()
            loss = self.model(torch.randn(8, 4)).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            hook.step(loss)
        self.scheduler.step()
        hook.epoch_end(epoch, **metrics)


def lines(hook: TrainingHook) -> list[dict[str, Any]]:
    return [json.loads(line) for line in hook.run.paths.states.read_text().splitlines()]


def test_it_counts_emits_and_saves_once_an_epoch(tmp_path: Path) -> None:
    loop = Loop()
    with loop.hook(tmp_path / "r") as hook:
        for epoch in range(3):
            loop.epoch(hook, epoch, val_loss=torch.tensor(1.0 - epoch / 10))
        assert [(c.step, c.epoch, c.label) for c in hook.manager.list_checkpoints()] == [
            (12, 2, "epoch"),
            (8, 1, "epoch"),
            (4, 0, "epoch"),
        ]
        emitted = lines(hook)
        assert [(e["epoch"], e["global_step"]) for e in emitted[:6]] == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 4), (1, 5)]
        assert emitted[4]["metrics"] == {"val_loss": 1.0}
        assert emitted[4]["loss"] == pytest.approx(sum(e["loss"] for e in emitted[:4]) / 4)
        assert (emitted[0]["learning_rate"], emitted[4]["learning_rate"]) == (0.1, 0.05)


def test_epochs_may_count_from_one(tmp_path: Path) -> None:
    loop = Loop()
    config = CheckpointConfig(save_every_n_epochs=2)
    with TrainingHook(loop.model, tmp_path / "r", config, loop.optimizer, start_epoch=1) as hook:
        for epoch in range(1, 5):
            loop.epoch(hook, epoch, 1)
        assert [c.epoch for c in hook.manager.list_checkpoints()] == [4, 2]
        assert lines(hook)[0]["epoch"] == 1


def test_steps_and_epochs_together_save_each_their_own(tmp_path: Path) -> None:
    loop = Loop()
    config = CheckpointConfig(save_every_n_epochs=1, save_every_n_steps=3, save_on_best_metric="val")
    with loop.hook(tmp_path / "r", config) as hook:
        loop.epoch(hook, 0, 4, val=0.5)
        loop.epoch(hook, 1, 4, val=0.9)
        found = [(c.step, c.label) for c in hook.manager.list_checkpoints()]
    assert found == [(8, "epoch"), (6, "step"), (4, "best"), (3, "step")]


def test_a_script_that_is_started_again_without_resume_loses_nothing(tmp_path: Path) -> None:
    """Regression: the second training was not saved where the first had been."""
    for seed in (1, 2):
        loop = Loop()
        torch.manual_seed(seed)
        with loop.hook(tmp_path / "r", CheckpointConfig(save_every_n_epochs=1, save_every_n_steps=3)) as hook:
            for epoch in range(2):
                loop.epoch(hook, epoch)
            saved = hook.manager.list_checkpoints()
            newest = hook.manager.load_checkpoint()["weights"]
    assert [(c.step, c.attempt) for c in saved] == [(step, attempt) for attempt in (2, 1) for step in (8, 6, 4, 3)]
    assert all(torch.equal(newest[name], value) for name, value in loop.model.state_dict().items())


def test_a_resumed_loop_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """Regression: the scheduler stepped behind the save, so the rate was 0.01 where the run had 0.005."""
    whole = Loop()
    with whole.hook(tmp_path / "whole") as hook:
        assert hook.resume() is None
        for epoch in range(4):
            whole.epoch(hook, epoch)
    first = Loop()
    with first.hook(tmp_path / "parts") as hook:
        for epoch in range(2):
            first.epoch(hook, epoch)
    second = Loop()
    with second.hook(tmp_path / "parts") as hook:
        report = hook.resume()
        assert report is not None
        assert report.fully_restored
        assert (hook.epoch, hook.global_step) == (2, 8)
        assert second.optimizer.param_groups[0]["lr"] == 0.1 * 0.5**2
        for epoch in range(hook.epoch, 4):
            second.epoch(hook, epoch)
        assert [line["attempt"] for line in lines(hook)] == [1] * 10 + [2] * 10
    assert values.same(dict(second.model.state_dict()), dict(whole.model.state_dict()))
    assert values.same(second.optimizer.state_dict(), whole.optimizer.state_dict())


def test_in_the_middle_of_an_epoch_that_epoch_goes_on(tmp_path: Path) -> None:
    loop = Loop()
    with loop.hook(tmp_path / "r", CheckpointConfig(save_every_n_steps=3)) as hook:
        for _ in range(3):
            hook.step(0.5)
        assert hook.load_checkpoint().next_epoch == 0
        hook.epoch_end(0)
        for _ in range(3):
            hook.step(0.5)
        hook.load_checkpoint()
        assert (hook.epoch, hook.global_step) == (1, 6)


def test_the_best_can_be_loaded(tmp_path: Path) -> None:
    loop = Loop()
    config = CheckpointConfig(save_every_n_epochs=1, save_on_best_metric="acc", minimize_metric=False)
    with loop.hook(tmp_path / "r", config) as hook:
        for epoch, acc in enumerate([0.1, 0.9, 0.5]):
            loop.epoch(hook, epoch, 1, acc=acc)
        assert hook.load_checkpoint(load_best=True).epoch == 1
        assert hook.epoch == 2
        with pytest.raises(CheckpointError):
            TrainingHook(torch.nn.Linear(1, 1), hook.run).load_checkpoint()


def test_it_says_when_to_stop_and_remembers_it(tmp_path: Path) -> None:
    config = CheckpointConfig(save_every_n_epochs=1, save_on_best_metric="val", early_stopping_patience=2)
    loop = Loop()
    with loop.hook(tmp_path / "r", config) as hook:
        for epoch, val in enumerate([0.5, 0.6]):
            loop.epoch(hook, epoch, 1, val=val)
            assert not hook.should_stop
    again = Loop()
    with again.hook(tmp_path / "r", config) as hook:
        hook.resume()
        assert hook.manager.no_improvement_count == 1
        again.epoch(hook, hook.epoch, 1, val=0.7)
        assert hook.should_stop


def test_switches_off_means_those_states_are_not_asked_for(tmp_path: Path) -> None:
    loop = Loop()
    config = CheckpointConfig(save_every_n_epochs=1, save_optimizer_state=False, save_scheduler_state=False)
    with loop.hook(tmp_path / "r", config) as hook:
        loop.epoch(hook, 0)
        report = hook.load_checkpoint()
        assert (report.optimizers, report.schedulers) == (0, 0)


def test_losses_that_are_not_finite_go_through(tmp_path: Path) -> None:
    with TrainingHook(torch.nn.Linear(1, 1), tmp_path / "r") as hook:
        hook.step(math.nan, acc=math.inf)
        saved = hook.epoch_end(0, val=-math.inf)
        assert saved is not None
        record = saved.result()
        assert math.isnan(record.loss or 0)
        assert record.metrics == {"val": -math.inf}
        hook.epoch_end(1)
        hook.epoch_end(2, loss=0.25)
        assert hook.manager.load_checkpoint(load_best=True)["state"].epoch == 2


def test_save_saves_now(tmp_path: Path) -> None:
    with TrainingHook(torch.nn.Linear(1, 1), tmp_path / "r", CheckpointConfig(save_every_n_epochs=100)) as hook:
        hook.step(0.5)
        saved = hook.save(why=1.0)
        assert saved is not None
        assert (saved.result().label, saved.result().metrics) == ("regular", {"why": 1.0})


def test_without_a_run_the_next_number_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hook = TrainingHook(torch.nn.Linear(1, 1))
    assert hook.run.directory == tmp_path / "runs" / "exp1"
    hook.close()
    assert json.loads((tmp_path / "runs" / "exp1" / "run.json").read_text())["ending"] == "finished"


def test_a_fork_counts_from_zero(tmp_path: Path) -> None:
    loop = Loop()
    with loop.hook(tmp_path / "parent") as hook:
        loop.epoch(hook, 0)
        loop.epoch(hook, 1)
    child = Loop()
    with child.hook(Run.fork(tmp_path / "parent", "child", tmp_path)) as hook:
        report = hook.resume()
        assert report is not None
        assert (report.epoch, hook.epoch, hook.global_step) == (1, 0, 0)
        child.epoch(hook, 0)
        found = [(c.epoch, c.step, c.label) for c in hook.manager.list_checkpoints()]
        assert found == [(0, 4, "epoch"), (1, 8, "fork")]


def test_other_ranks_train_along_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    with loop.hook(tmp_path / "r") as hook:
        loop.epoch(hook, 0)
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    monkeypatch.setenv("RANK", "1")
    other = Loop()
    with other.hook(tmp_path / "r") as hook:
        report = hook.resume()
        assert report is not None
        other.epoch(hook, 1)
        assert hook.epoch == 2
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


def test_another_rank_may_come_before_the_run_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    loop = Loop()
    with loop.hook(Run.create("r", tmp_path)) as hook:
        assert hook.resume() is None
        assert hook.manager.list_checkpoints() == []
        loop.epoch(hook, 0)
    assert list(tmp_path.iterdir()) == []
