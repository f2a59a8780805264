"""A place for checkpoints that is gone, or takes no file: what is made again, and what is told."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from ckpt import CheckpointConfig, SaveError, TrainingHook
from ckpt.exceptions import OperationError
from ckpt.runs import Run
from ckpt.writing import place
from ckpt.writing.jobs import Job

torch.set_num_threads(1)


def trained(run: Path) -> TrainingHook:
    return TrainingHook(torch.nn.Linear(3, 2), run, CheckpointConfig(save_every_n_steps=1))


def test_a_directory_of_checkpoints_alone_is_made_again(tmp_path: Path) -> None:
    with trained(tmp_path / "exp") as hook:
        hook.save()
        hook.run.checkpoints()
        shutil.rmtree(tmp_path / "exp" / "checkpoints")
        saved = hook.step(loss=0.5)
        assert saved is not None and saved.result().step == 1
        assert [c.step for c in hook.run.checkpoints()] == [1]


@pytest.mark.parametrize("lost", ["all", "run.json", "another"])
def test_a_run_that_is_gone_is_named_and_not_made_again(tmp_path: Path, lost: str) -> None:
    run = tmp_path / "exp"
    with Run.create("exp", tmp_path) as made:
        job = Job(number=1, run=os.fsencode(run), stem="step-000001", marker={"run": made.id})
    shutil.rmtree(run)
    if lost == "run.json":
        run.mkdir()
    elif lost == "another":
        Run.create("exp", tmp_path).close()
        (run / "checkpoints").rmdir()
    with pytest.raises(SaveError) as raised:
        place.directory_of(job)
    told = str(raised.value)
    assert told.startswith("step-000001 could not be saved: ") and str(run) in told
    assert "mount its disk again" in told and "untouched" not in told
    assert not (run / "checkpoints").exists()


def test_a_disk_that_is_read_only_is_told_with_what_helps(tmp_path: Path) -> None:
    hook = trained(tmp_path / "exp")
    disk = tmp_path / "exp" / "checkpoints"
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", disk, disk], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", disk], check=True)
        with pytest.raises(SaveError) as raised:
            hook.step(loss=0.5).result()  # type: ignore[union-attr]
        for word in ("Read-only file system", str(disk), "remount,rw", "untouched"):
            assert word in str(raised.value)
        subprocess.run(["mount", "-o", "remount,rw,bind", disk], check=True)
        hook.step(loss=0.5).result()  # type: ignore[union-attr]
    finally:
        hook.close()
        subprocess.run(["umount", disk], check=True)


def test_what_failed_is_told_with_its_directory(tmp_path: Path) -> None:
    job = Job(number=1, run=os.fsencode(tmp_path), stem="step-000001")
    (tmp_path / "checkpoints").mkdir()
    told = place.failure(job, OSError(errno.EIO, os.strerror(errno.EIO)))
    assert told.message == f"step-000001 could not be saved: Input/output error: {tmp_path / 'checkpoints'}"
    assert told.hint is not None and "dmesg" in told.hint and "untouched" not in told.hint


def test_a_pipe_at_a_markers_name_is_passed_over(tmp_path: Path) -> None:
    with trained(tmp_path / "exp") as hook:
        os.mkfifo(tmp_path / "exp" / "checkpoints" / "step-000001.json")
        saved = hook.step(loss=0.5)
        assert saved is not None and Path(saved.result().path).name == "step-000001-2.pt"


def test_a_run_that_is_gone_cannot_be_looked_at_or_trained(tmp_path: Path) -> None:
    with trained(tmp_path / "exp") as hook:
        hook.save()
    shutil.rmtree(tmp_path / "exp")
    for act in (hook.run.checkpoints, hook.run.checkpoint, hook.resume, hook.run.begin):
        with pytest.raises(OperationError, match=f"run {tmp_path / 'exp'} cannot be (read|written): No such file"):
            act()
