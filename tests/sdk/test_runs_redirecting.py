"""While a self-test goes on, runs are made below its directory and the user's are only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt import CheckpointConfig, CheckpointManager, Run, TrainingState, load_checkpoint, save_checkpoint
from ckpt.files import read_json
from ckpt.runs import redirecting
from ckpt.selftest.plan import Plan, write_plan


def all_bytes(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The private disk of a self-test that goes on in this process."""
    plan = tmp_path / "private" / "plan.json"
    plan.parent.mkdir()
    # What is asked about here are runs: this process is not recorded, because another one is already.
    recording = tmp_path / "private" / "recording.jsonl"
    recording.touch()
    write_plan(plan, Plan(recording=str(recording)))
    monkeypatch.setenv(redirecting.VARIABLE, str(plan))
    monkeypatch.chdir(tmp_path)
    return redirecting.private_disk(plan)


def private(disk: Path, path: Path) -> Path:
    return disk / path.relative_to("/")


def test_nothing_is_redirected_without_a_self_test(tmp_path: Path) -> None:
    assert redirecting.written(tmp_path) == tmp_path and redirecting.places(tmp_path) == (tmp_path,)
    assert not redirecting.is_spared(tmp_path)


def test_a_path_has_one_private_place(disk: Path, tmp_path: Path) -> None:
    there = redirecting.written(tmp_path / "runs")
    assert there == private(disk, tmp_path / "runs") == redirecting.written(there)
    assert redirecting.places(tmp_path / "runs") == redirecting.places(there) == (there, tmp_path / "runs")


def test_new_runs_are_private(disk: Path, tmp_path: Path) -> None:
    with Run.create(base_dir="runs") as made, Run.at("at") as at:
        assert made.directory == private(disk, tmp_path / "runs" / "exp1")
        assert at.directory == private(disk, tmp_path / "at")
        assert Run.open("exp1").directory == made.directory
        at.begin()
    assert not (tmp_path / "runs").exists() and not (tmp_path / "at").exists()


def test_a_run_of_the_users_is_trained_as_a_copy_with_its_newest_checkpoint(
    runs: Any, disk: Path, tmp_path: Path
) -> None:
    theirs = runs.run("exp1", checkpoints=3, config={"lr": 0.5})
    before = all_bytes(theirs)
    with Run.resume(theirs) as run:
        assert run.directory == private(disk, theirs) and run.config == {"lr": 0.5}
        assert [checkpoint.step for checkpoint in run.checkpoints()] == [30]
        manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=1))
        state = TrainingState(epoch=4, global_step=40, learning_rate=0.1, loss=0.5)
        manager.save_checkpoint(manager.load_checkpoint()["weights"], state)
    with Run.resume("exp1") as again:
        assert again.directory == private(disk, theirs) and again.attempt == 2
    assert all_bytes(theirs) == before


def test_a_run_of_the_users_is_read_and_never_marked(runs: Any, disk: Path) -> None:
    theirs = runs.run("exp1", checkpoints=2)
    before = all_bytes(theirs)
    run = Run.open(theirs)
    run.tag("latest", "paper")
    run.note("latest", "good")
    run.update(monitor="x")
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [20, 10]
    assert all_bytes(theirs) == before


def test_a_fork_of_the_users_run_is_private_and_not_told_to_the_parent(runs: Any, disk: Path, tmp_path: Path) -> None:
    theirs = runs.run("exp1", checkpoints=2)
    before = all_bytes(theirs)
    with Run.fork("exp1@step:10", "child") as child:
        assert child.directory == private(disk, tmp_path / "runs" / "child") and child.forked
    assert all_bytes(theirs) == before and not (tmp_path / "runs" / "child").exists()
    with Run.fork("child", "grandchild") as grandchild:
        assert read_json(grandchild.paths.manifest)["parent"]["run"] == child.id


def test_files_saved_by_hand_are_private(disk: Path, tmp_path: Path) -> None:
    import torch

    class Trainer:
        def __init__(self) -> None:
            self.model = torch.nn.Linear(2, 2)

    (tmp_path / "theirs.pt").write_bytes(b"theirs")
    trainer = Trainer()
    written = save_checkpoint("theirs.pt", trainer)
    assert written == private(disk, tmp_path / "theirs.pt") and (tmp_path / "theirs.pt").read_bytes() == b"theirs"
    other = Trainer()
    load_checkpoint("theirs.pt", other)
    assert torch.equal(other.model.weight, trainer.model.weight)
