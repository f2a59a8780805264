"""Why a training may not go on to the bit: told once at the load, and in the report."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.saving.capture import environment, taking
from ckpt.saving.envelope import Content
from ckpt.saving.restore import exactness, restoring
from ckpt.state import TrainingState


class Position:
    """A loader with a position, that may say how well it goes on."""

    def __init__(self, resumes_by: str = "position", caveats: tuple[str, ...] = (), slow: tuple[str, ...] = ()) -> None:
        self.at = 0
        self.slow = slow
        self.resumes_by = resumes_by
        self.caveats = caveats

    def __iter__(self) -> Any:
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        return {"batch_idx": self.at, "epoch": 0, "epoch_open": True, "exhausted": False}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["batch_idx"] > 100:
            raise ValueError("no such batch")
        self.at = state["batch_idx"]


def state(step: int = 1) -> TrainingState:
    return TrainingState(epoch=0, global_step=step, learning_rate=0.1, loss=1.0)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def save_and_resume(directory: Path, loader: Any, config: CheckpointConfig | None = None, **given: Any) -> Any:
    model = torch.nn.Linear(2, 2)
    with CheckpointManager(directory, config) as manager:
        manager.save_checkpoint(model, state(), loaders=loader, **given)
    with CheckpointManager(directory) as manager:
        return manager.resume(model, loaders=loader)


def test_nothing_is_said_of_a_training_that_goes_on_exactly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = save_and_resume(tmp_path / "r", Position(), at_epoch_end=False)
    assert (report.caveats, report.fully_restored, report.phase) == ((), True, "training")
    assert report.resumes_by == {"loader 0": "position"}
    assert warnings(caplog) == []


def test_a_loader_says_what_speaks_against_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = save_and_resume(tmp_path / "r", {"train": Position("skipping", ("give the sampler a state_dict()",))})
    assert report.caveats == ("train: give the sampler a state_dict()",)
    assert report.fully_restored
    assert "but: train: give the sampler a state_dict()" in str(report)
    [told] = warnings(caplog)
    assert told.endswith("the training goes on, but train: give the sampler a state_dict()")


def test_what_only_takes_its_time_is_no_difference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ckpt.saving")
    report = save_and_resume(tmp_path / "r", {"train": Position("skipping", slow=("all is read again",))})
    assert (report.caveats, report.slow) == ((), ("train: all is read again",))
    assert "slow: train: all is read again" in str(report)
    assert warnings(caplog) == []
    [told] = [record.message for record in caplog.records if "goes on" in record.message]
    assert told.endswith("the training goes on; train: all is read again")


def test_what_every_run_on_a_gpu_has_to_live_with_is_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ckpt.saving")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    told = environment.nondeterminism()
    monkeypatch.undo()
    assert len(told) == 1
    monkeypatch.setattr(taking, "nondeterminism", lambda: told)
    report = save_and_resume(tmp_path / "r", Position(), at_epoch_end=False)
    assert report.caveats == told
    assert warnings(caplog) == []
    assert any("CUDA may add" in record.message for record in caplog.records)


def test_a_loader_without_a_position_beside_one_that_has_one_is_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = torch.utils.data.DataLoader([1, 2])
    report = save_and_resume(tmp_path / "a", {"train": plain, "more": Position()}, at_epoch_end=False)
    [told] = report.caveats
    assert told.startswith("the position of loaders.train was not saved")
    assert warnings(caplog)[-1].endswith(told)
    assert save_and_resume(tmp_path / "b", {"train": Position(), "val_a": plain}, at_epoch_end=False).caveats == ()
    [told] = save_and_resume(tmp_path / "c", [plain, Position()], at_epoch_end=False).caveats
    assert told.startswith("the position of loaders[0] was not saved")
    told = save_and_resume(tmp_path / "d", {"val": Position()}, at_epoch_end=False).caveats[-1]
    assert told.startswith("no loader of the training is among val, so its data begins again")
    assert save_and_resume(tmp_path / "e", {"val": Position()}, at_epoch_end=True).caveats == ()


def test_a_loader_that_the_save_had_not_begins_its_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The advice to give one has to work."""
    model = torch.nn.Linear(2, 2)
    with CheckpointManager(tmp_path / "r") as manager:
        manager.save_checkpoint(model, state(), at_epoch_end=False)
        report = manager.resume(model, loaders=Position())
    assert report is not None
    assert report.caveats == ("the position in the data was not saved, so the epoch's data begins again",)
    assert report.notes == ("no loader state was saved",)
    assert len(warnings(caplog)) == 1


def test_a_loader_that_refuses_where_that_is_allowed_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, loader = torch.nn.Linear(2, 2), Position()
    loader.at = 101
    with CheckpointManager(tmp_path / "r") as manager:
        manager.save_checkpoint(model, state(), loaders=loader, at_epoch_end=False)
        report = manager.resume(model, loaders=loader, strict=False)
    assert report is not None
    assert report.caveats == ("the position in the data was not restored, so the epoch's data begins again",)
    assert len(warnings(caplog)) == 1


def test_a_fork_begins_with_an_epoch_of_its_own(tmp_path: Path) -> None:
    model, loader = torch.nn.Linear(2, 2), Position()
    loader.at = 12
    with CheckpointManager(tmp_path / "r") as manager:
        manager.save_checkpoint(model, state(), loaders=loader, at_epoch_end=False)
    loader.at = 0
    with closing(Run.fork(tmp_path / "r", "f", tmp_path)) as run, CheckpointManager(run) as manager:
        report = manager.resume(model, loaders=loader)
    assert report is not None
    assert report.start_of_fork
    assert (report.loaders, loader.at) == (0, 0)
    assert report.notes == ("the loaders were left alone: a fork begins with an epoch of its own",)


def test_an_epoch_without_a_loader_begins_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = save_and_resume(tmp_path / "r", None, at_epoch_end=False)
    assert len(report.caveats) == 1
    assert "ckpt.ResumableLoader" in report.caveats[0]
    assert len(warnings(caplog)) == 1


def test_between_two_epochs_no_loader_is_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert save_and_resume(tmp_path / "r", None, at_epoch_end=True).caveats == ()
    assert warnings(caplog) == []


def test_a_save_on_an_exception_within_a_step_says_that_the_batch_is_lost(tmp_path: Path) -> None:
    report = save_and_resume(tmp_path / "r", Position(), after=ValueError("x"))
    assert report.caveats == ("it was saved on ValueError: a batch that was under way is not repeated",)


def test_random_states_that_were_not_saved_are_missed(tmp_path: Path) -> None:
    report = save_and_resume(tmp_path / "r", None, CheckpointConfig(save_random_state=False), at_epoch_end=True)
    assert report.caveats == (
        "random states were not saved, so dropout and shuffling differ: save_random_state=True saves them",
    )


def test_another_machine_is_told_of_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.Linear(2, 2)
    with CheckpointManager(tmp_path / "r") as manager:
        manager.save_checkpoint(model, state(), at_epoch_end=True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with CheckpointManager(tmp_path / "r") as manager:
        report = manager.resume(model)
    assert report is not None
    assert any(caveat.endswith("now 77 threads") for caveat in report.caveats)
    assert any(caveat.startswith("saved by 1 process, now the training has 4") for caveat in report.caveats)
    assert len(warnings(caplog)) == 1


def test_weights_alone_are_no_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(2, 2)
    with CheckpointManager(tmp_path / "r") as manager:
        manager.save_checkpoint(model, state(), at_epoch_end=False)
        assert manager.restore_from_checkpoint(model, weights_only=True).caveats == ()
    assert warnings(caplog) == []


def test_files_that_do_not_report_on_themselves_have_no_caveats() -> None:
    assert exactness.caveats_of_restore(Content(weights={}, state=state()), restoring.Training()) == ()


def test_a_loader_that_refuses_leaves_all_as_it_was(tmp_path: Path) -> None:
    model, loader = torch.nn.Linear(2, 2), Position()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with CheckpointManager(tmp_path / "r") as manager:
        loader.at = 101
        manager.save_checkpoint(model, state(), optimizers=optimizer, loaders={"train": loader})
        loader.at = 3
        with torch.no_grad():
            model.weight.fill_(7.0)
        optimizer.param_groups[0]["lr"] = 0.25
        before = torch.get_rng_state()
        with pytest.raises(Exception, match="the loader refused its state"):
            manager.resume(model, optimizer, loaders={"train": loader})
    assert (model.weight == 7.0).all()
    assert (optimizer.param_groups[0]["lr"], loader.at) == (0.25, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_random_states_are_set_last(tmp_path: Path) -> None:
    class Draws(Position):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            torch.rand(3)

    model, loader = torch.nn.Linear(2, 2), Draws()
    with CheckpointManager(tmp_path / "r") as manager:
        manager.save_checkpoint(model, state(), loaders=loader)
        expected = torch.rand(4)
        manager.resume(model, loaders=loader)
        assert torch.equal(torch.rand(4), expected)


def test_the_log_tells_part_by_part_what_was_restored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loader = Position()
    loader.at = 12
    caplog.set_level(logging.DEBUG, "ckpt.saving")
    save_and_resume(tmp_path / "r", loader)
    told = [record.message for record in caplog.records if record.levelno == logging.DEBUG]
    assert any(line.endswith("restored the loader at batch 12 of epoch 0") for line in told)
    assert any(line.endswith("restored the random states") for line in told)


def test_a_manager_starts_and_goes_on_with_the_same_lines(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    with CheckpointManager(tmp_path / "r") as manager:
        assert manager.resume(model) is None
        assert (manager.next_epoch, manager.next_step) == (0, 0)
        manager.save_checkpoint(model, state(5), at_epoch_end=True)
    with CheckpointManager(tmp_path / "r") as manager:
        report = manager.resume(model)
        assert report is not None
        assert (manager.next_epoch, manager.next_step) == (report.next_epoch, report.next_step) == (1, 5)
    with CheckpointManager(tmp_path / "other") as manager:
        assert manager.resume(model, fallback=tmp_path / "r") is not None
        assert manager.next_epoch == 0 or manager.next_step == 5
