"""Loading: the right checkpoint, proven whole, into objects that fit."""

from __future__ import annotations

import math
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.exceptions import (
    AddressError,
    CheckpointError,
    CorruptError,
    FormatError,
    IncompleteError,
    StateError,
    UsageError,
)
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.state import TrainingState, values

torch.set_num_threads(1)


def weights(step: int) -> dict[str, torch.Tensor]:
    return {"w": torch.full((2000,), float(step))}


def state(step: int, /, loss: float = 0.5, **metrics: Any) -> TrainingState:
    return TrainingState(epoch=step, global_step=step * 10, learning_rate=0.1, loss=loss, metrics=metrics)


@pytest.fixture
def manager(tmp_path: Path) -> Any:
    with Run.create("r", tmp_path) as run:
        made = CheckpointManager(run)
        for step, loss in ((1, 0.5), (2, 0.1), (3, 0.4)):
            made.save_checkpoint(weights(step), state(step, loss=loss))
        made.close()
        yield made


def file(manager: CheckpointManager, step: int) -> Path:
    return manager.run.paths.checkpoints / f"step-{step * 10:06d}.pt"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def bare(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


def test_latest_best_and_any(manager: CheckpointManager) -> None:
    def step(**kwargs: Any) -> int:
        return manager.load_checkpoint(**kwargs)["state"].epoch

    assert step() == 3
    assert step(load_best=True) == 2
    info = manager.get_checkpoint_info("step:10")
    for ref in ("step:10", "epoch:1", "~2", info.id, info.path, Path(info.path), info, "step-000010.pt"):
        assert manager.load_checkpoint(ref)["state"].epoch == 1
        assert step(commit_hash=ref) == 1
    loaded = manager.load_checkpoint("best")
    assert loaded["commit_hash"] == loaded["checkpoint"].id
    assert loaded["path"] == str(file(manager, 2))
    assert torch.equal(loaded["weights"]["w"], weights(2)["w"])
    with pytest.raises(UsageError, match="two things"):
        manager.load_checkpoint("latest", load_best=True)


def test_loading_changes_nothing(manager: CheckpointManager) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    manager.load_checkpoint()
    assert torch.equal(torch.rand(2), expected)


def test_the_state_comes_back_as_it_was(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        made = state(1, loss=math.nan, acc=0.5, low=-math.inf)
        made.notes, made.batch_size = "a\nb", 32
        made.optimizer_state = {"state": {0: {"m": torch.randn(2)}}, "param_groups": []}
        made.random_state = {"torch": torch.get_rng_state()}
        manager.save_checkpoint(weights(1), made)
        assert manager.load_checkpoint()["state"] == made


def test_a_file_of_another_run_can_be_loaded_by_path(manager: CheckpointManager, tmp_path: Path) -> None:
    with Run.create("other", tmp_path) as run:
        other = CheckpointManager(run)
        assert other.load_checkpoint(file(manager, 1))["state"].epoch == 1
        with pytest.raises(AddressError):
            other.load_checkpoint(tmp_path / "none.pt")


def test_nothing_to_load_says_so(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run, CheckpointConfig(save_on_best_metric="m"))
        with pytest.raises(AddressError, match="has no checkpoint that is complete"):
            manager.load_checkpoint()
        manager.save_checkpoint(weights(1), state(1, m=math.nan))
        with pytest.raises(AddressError, match="no checkpoint with a finite m"):
            manager.load_checkpoint(load_best=True)
        with pytest.raises(AddressError, match="did you mean"):
            manager.load_checkpoint("lates")


@pytest.mark.parametrize("damage", [flip, cut, empty, bare])
def test_a_damaged_newest_falls_back_and_says_so(
    manager: CheckpointManager, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: with the newest file cut short, loading raised and fell back to nothing."""
    damage(file(manager, 3))
    with pytest.warns(RuntimeWarning, match=r"step-000030\.pt .*Loaded step-000020\.pt instead"):
        loaded = manager.load_checkpoint()
    assert loaded["state"].epoch == 2
    assert any(r.name == "ckpt.saving" and "step-000030" in r.getMessage() for r in caplog.records)
    with pytest.raises(CorruptError, match="damaged"):
        manager.load_checkpoint("step:30" if damage is not bare else file(manager, 3))


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_damaged_best_falls_back_to_the_next_best(manager: CheckpointManager, damage: Any) -> None:
    damage(file(manager, 2))
    with pytest.warns(RuntimeWarning, match=r"step-000020\.pt .*Loaded step-000030\.pt instead"):
        assert manager.load_checkpoint(load_best=True)["state"].epoch == 3


def test_a_flipped_bit_passes_only_unverified(manager: CheckpointManager) -> None:
    flip(file(manager, 3))
    os.utime(file(manager, 3))
    assert manager.load_checkpoint(verify=False)["state"].epoch == 3


def test_when_all_are_damaged_it_is_an_error(manager: CheckpointManager) -> None:
    for step in (1, 2, 3):
        cut(file(manager, step))
    with pytest.raises(CorruptError, match="no checkpoint of run 'r' can be loaded"):
        manager.load_checkpoint()


def test_a_save_that_was_never_committed_is_no_checkpoint(manager: CheckpointManager) -> None:
    file(manager, 3).with_suffix(".json").unlink()
    assert manager.load_checkpoint()["state"].epoch == 2
    assert [c.epoch for c in manager.list_checkpoints()] == [2, 1]
    with pytest.raises(IncompleteError, match="never committed"):
        manager.load_checkpoint(file(manager, 3))


def write(manager: CheckpointManager, content: Any) -> Path:
    directory = manager.run.paths.directory.parent / "elsewhere"
    directory.mkdir()
    torch.save(content, directory / "model.pt")
    return directory / "model.pt"


def test_other_makers_files_are_read_as_far_as_they_are_plain(manager: CheckpointManager) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = write(
        manager,
        {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "epoch": 7},
    )
    loaded = manager.load_checkpoint(path)
    assert loaded["state"].epoch == 7
    assert values.same(loaded["optimizer_states"], [optimizer.state_dict()])
    assert list(loaded["weights"]) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        ({"format_version": 2, "model_state_dict": {}}, FormatError, "format 2"),
        ({"epoch": 1}, FormatError, "holds no weights"),
        ([1, 2], FormatError, "holds a list"),
    ],
)
def test_what_cannot_be_understood_is_told(
    manager: CheckpointManager, content: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        manager.load_checkpoint(write(manager, content))


class Evil:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


def test_a_file_cannot_execute_code(manager: CheckpointManager, tmp_path: Path) -> None:
    proof = tmp_path / "it ran"
    path = write(manager, {"model_state_dict": {"w": Evil(proof)}})
    torch.load(path, weights_only=False)
    proof.rmdir()
    with pytest.raises(CheckpointError):
        manager.load_checkpoint(path)
    assert not proof.exists()


# Into objects


def net() -> torch.nn.Module:
    layers = [torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1)]
    return torch.nn.Sequential(*layers)


class Training:
    """A training that draws from all three generators."""

    def __init__(self) -> None:
        self.model = net()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 20)

    def steps(self, count: int) -> list[float]:
        losses = []
        for _ in range(count):
            self.optimizer.zero_grad()
            noise = np.random.rand() + random.random()
            loss = (self.model(torch.randn(8, 4)) * (1 + noise)).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.item())
        return losses


def test_a_restored_training_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """Regressions: buffers, scheduler, and the states of Python and NumPy were not saved."""
    torch.manual_seed(1)
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        first = Training()
        first.steps(5)
        manager.save_checkpoint(
            first.model, state(5), optimizers=first.optimizer, schedulers=first.scheduler, at_epoch_end=True
        )
        expected = first.steps(10)
        again = Training()
        report = manager.restore_from_checkpoint(again.model, again.optimizer, [again.scheduler])
        assert (report.epoch, report.global_step, report.next_epoch, report.next_step) == (5, 50, 6, 50)
        assert (report.optimizers, report.schedulers, report.random) == (1, 1, True)
        assert report.fully_restored
        assert again.steps(10) == expected
        assert values.same(dict(again.model.state_dict()), dict(first.model.state_dict()))


def test_named_modules_and_plain_tensors_can_be_restored(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        parts = {"body": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)}
        manager.save_checkpoint(parts, state(1))
        fresh = {"body": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)}
        assert manager.restore_from_checkpoint(fresh).fully_restored
        assert torch.equal(fresh["head"].weight, parts["head"].weight)
        tensors = {name: torch.zeros_like(value) for name, value in manager.load_checkpoint()["weights"].items()}
        manager.restore_from_checkpoint(tensors)
        assert torch.equal(tensors["body.bias"], parts["body"].bias)
        with pytest.raises(StateError, match="cannot take weights"):
            manager.restore_from_checkpoint("model")


def test_a_mismatch_raises_and_changes_nothing(tmp_path: Path) -> None:
    """Regression: restoring into another structure returned True."""
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        first = Training()
        manager.save_checkpoint(first.model, state(1), optimizers=first.optimizer)
        other = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
        before = {name: value.clone() for name, value in other.state_dict().items()}
        optimizer = torch.optim.AdamW(other.parameters())
        with pytest.raises(CheckpointError, match=r"3\.weight: not in the model") as caught:
            manager.restore_from_checkpoint(other, optimizer)
        assert "strict=False" in str(caught.value)
        assert values.same(dict(other.state_dict()), before)
        report = manager.restore_from_checkpoint(other, optimizer, strict=False)
        assert set(report.loaded) == {n for n in before if n.startswith(("0.", "1."))}
        assert {str(s) for s in report.skipped} == {
            "2.weight: not in the checkpoint",
            "2.bias: not in the checkpoint",
            "3.weight: not in the model",
            "3.bias: not in the model",
        }
        assert not report.fully_restored
        assert report.optimizers == 0
        assert optimizer.state_dict()["state"] == {}
        assert torch.equal(other[0].weight, first.model[0].weight)  # type: ignore[index, arg-type]


def test_both_shapes_are_told(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        manager.save_checkpoint(torch.nn.Linear(4, 3), state(1))
        with pytest.raises(CheckpointError, match=r"weight: \[3, 4\] in the checkpoint, \[3, 5\] in the model"):
            manager.restore_from_checkpoint(torch.nn.Linear(5, 3))


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"schedulers": True}, "no scheduler state was saved"),
        ({"optimizers": 2}, "1 optimizer states were saved, 2 are wanted"),
        ({"optimizers": "groups"}, "groups of"),
        ({"scaler": True}, "no scaler state was saved"),
    ],
)
def test_states_that_do_not_fit_raise_before_anything_changes(
    tmp_path: Path, wanted: dict[str, Any], told: str
) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        first, other = Training(), Training()
        manager.save_checkpoint(first.model, state(1), optimizers=first.optimizer)
        before = {name: value.clone() for name, value in other.model.state_dict().items()}
        objects: dict[str, Any] = {
            "schedulers": other.scheduler,
            "optimizers": [other.optimizer, other.optimizer],
            "scaler": torch.amp.GradScaler("cpu"),
        }
        if wanted.get("optimizers") == "groups":
            objects["optimizers"] = torch.optim.AdamW(list(other.model.parameters())[:1])
        given = {name: objects[name] for name in wanted}
        with pytest.raises(CheckpointError, match=told):
            manager.restore_from_checkpoint(other.model, **given)
        assert values.same(dict(other.model.state_dict()), before)
        report = manager.restore_from_checkpoint(other.model, **given, strict=False)
        assert any(told.split()[0] in note for note in report.notes)
        assert not report.fully_restored


def test_another_dtype_is_told(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        manager.save_checkpoint(torch.nn.Linear(2, 1).double(), state(1))
        report = manager.restore_from_checkpoint(torch.nn.Linear(2, 1))
        assert set(report.converted) == {"weight", "bias"}
        assert not report.fully_restored


def test_loaders_and_scaler_go_and_come(tmp_path: Path) -> None:
    class Loader:
        position = 0

        def state_dict(self) -> dict[str, Any]:
            return {"position": self.position}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.position = state["position"]

    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        loader, fresh = Loader(), Loader()
        loader.position = 7
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        manager.save_checkpoint(weights(1), state(1), loaders=loader, scaler=scaler)
        other = torch.amp.GradScaler("cpu")
        report = manager.restore_from_checkpoint(scaler=other, loaders=[fresh])
        assert (fresh.position, other.get_scale()) == (7, 8.0)
        assert (report.loaders, report.scaler) == (1, True)


def test_after_a_return_the_rules_serve_epochs_again(tmp_path: Path) -> None:
    config = CheckpointConfig(save_every_n_epochs=1)
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run, config)
        for epoch in (1, 2, 3):
            manager.save_checkpoint(weights(epoch), state(epoch))
    with Run.resume("r", tmp_path) as run:
        manager = CheckpointManager(run, config)
        manager.load_checkpoint()
        assert not manager.should_save_checkpoint(state(3))
        manager.restore_from_checkpoint(ref="epoch:1")
        assert not manager.should_save_checkpoint(state(1))
        assert manager.should_save_checkpoint(state(2))
        manager.save_checkpoint(weights(2), state(2))
        newest = manager.list_checkpoints()[0]
        assert (newest.epoch, newest.seq, newest.attempt) == (2, 4, 2)
        assert manager.load_checkpoint()["state"].epoch == 2


def test_a_training_that_begins_anew_in_a_used_run_saves_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: what an earlier training had saved at an epoch kept a new one from saving there."""
    for value in (1, 2):
        manager = CheckpointManager(tmp_path / "r", CheckpointConfig(save_every_n_epochs=1))
        for epoch in (1, 2, 3):
            made = state(epoch)
            assert manager.should_save_checkpoint(made)
            manager.save_checkpoint(weights(value), made)
        manager.run.close()
    newest = manager.load_checkpoint()
    assert torch.equal(newest["weights"]["w"], weights(2)["w"])
    assert len(manager.list_checkpoints()) == 6
    told = [r.getMessage() for r in caplog.records if "went on from none" in r.getMessage()]
    assert len(told) == 1 and "number 3" in told[0]


def test_a_fork_finds_its_own_best(tmp_path: Path) -> None:
    """Regression: a fork inherited its parent's best and wrote none until it beat that."""
    config = CheckpointConfig(save_on_best_metric="acc", minimize_metric=False)
    with Run.create("parent", tmp_path) as run:
        parent = CheckpointManager(run, config)
        parent.save_checkpoint(weights(3), state(3, acc=0.99))
    with Run.fork("parent@best", "child", tmp_path) as run:
        child = CheckpointManager(run, config)
        report = child.restore_from_checkpoint({"w": torch.zeros(2000)})
        assert (report.epoch, report.start_of_fork, report.next_epoch, report.next_step) == (3, True, 0, 0)
        with pytest.raises(AddressError, match="finite acc"):
            child.load_checkpoint(load_best=True)
        assert child.should_save_checkpoint(state(1, acc=0.1))
        child.save_checkpoint(weights(1), state(1, acc=0.1))
        assert child.load_checkpoint(load_best=True)["checkpoint"].step == 10
        assert torch.load(run.paths.best, weights_only=True)["global_step"] == 10
        assert parent.get_checkpoint_info("best").held_by == ("parent of child",)


def test_damaged_random_states_change_no_generator(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        made = state(1)
        made.random_state = {"python": (3, tuple(range(625)), None), "torch": torch.zeros(3, dtype=torch.uint8)}
        manager.save_checkpoint(weights(1), made)
        before = random.getstate()
        with pytest.raises(StateError, match="random states"):
            manager.restore_from_checkpoint()
        assert random.getstate() == before
        made.random_state = {"mine": 1}
        manager.save_checkpoint(weights(1), made)
        assert manager.restore_from_checkpoint().notes == ("the random state mine was not restored",)
