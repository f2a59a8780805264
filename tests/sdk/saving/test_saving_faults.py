"""Saves that go wrong: full disks, interrupts, kills. Earlier checkpoints stay, nothing half is listed."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import files
from ckpt.config import CheckpointConfig
from ckpt.exceptions import SaveError
from ckpt.records import Checkpoint
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.state import TrainingState
from ckpt.writing.sealing import Sealer
from fork_server import ForkServer

SMALL = {"w": torch.arange(10.0)}
LARGE = {"w": torch.zeros(2_000_000)}  # 8 MB


def state(step: int) -> TrainingState:
    return TrainingState(epoch=0, global_step=step, learning_rate=0.1, loss=0.5)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create("r", tmp_path) as made:
        yield made


def save(manager: CheckpointManager, weights: dict[str, torch.Tensor], step: int) -> Checkpoint:
    """A save that is waited for."""
    handle = manager.save_checkpoint(weights, state(step))
    assert handle is not None
    return handle.result(60)


def assert_as_before(run: Run, names: list[str]) -> None:
    """The directory holds just these checkpoints, and they load."""
    manager = CheckpointManager(run)
    expected = {f"{n}{s}" for n in names for s in (".pt", ".json")} | {"latest.pt", "best.pt"}
    assert set(os.listdir(run.paths.checkpoints)) == expected
    assert [c.state for c in run.checkpoints()] == ["complete"] * len(names)
    for name in names:
        assert torch.equal(manager.load_checkpoint(f"{name}.pt")["weights"]["w"], SMALL["w"])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_leaves_nothing_behind_and_the_next_save_works(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        with Run.create("r", disk) as run:
            manager = CheckpointManager(run)
            save(manager, SMALL, 1)
            with pytest.raises(SaveError, match="step-000002 could not be saved: No space left on device"):
                save(manager, LARGE, 2)
            assert_as_before(run, ["step-000001"])
            save(manager, SMALL, 3)
            assert_as_before(run, ["step-000001", "step-000003"])
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("limit", [0, 100, 5_000, 1_000_000])
def test_a_file_that_may_not_grow_is_as_a_full_disk(run: Run, limit: int) -> None:
    manager = CheckpointManager(run, CheckpointConfig(background=False))
    save(manager, SMALL, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(SaveError, match="File too large"):
            save(manager, LARGE, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert_as_before(run, ["step-000001"])
    save(manager, SMALL, 2)
    assert_as_before(run, ["step-000001", "step-000002"])


@pytest.mark.parametrize("act", ["fsync", "link", "write_json"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["EIO", "Ctrl-C"])
def test_a_fault_at_each_act_leaves_nothing_listed(
    run: Run, monkeypatch: pytest.MonkeyPatch, act: str, error: BaseException
) -> None:
    # An interrupt comes in the training's thread, which then has to be the one that writes.
    config = CheckpointConfig(save_every_n_steps=1, background=isinstance(error, OSError))
    manager = CheckpointManager(run, config)
    save(manager, SMALL, 1)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        if act == "write_json":
            patch.setattr(files, "write_json", fail)
        else:
            patch.setattr(os, act, fail)
            patch.setattr(os, "replace", fail)
        with pytest.raises(SaveError if isinstance(error, OSError) else KeyboardInterrupt):
            save(manager, SMALL, 2)
    assert_as_before(run, ["step-000001"])
    assert manager.should_save_checkpoint(state(2))
    save(manager, SMALL, 2)
    assert_as_before(run, ["step-000001", "step-000002"])


@pytest.mark.parametrize("after", [0, 700, 5_000_000])
def test_ctrl_c_in_the_midst_of_a_write_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    manager = CheckpointManager(run, CheckpointConfig(background=False))
    save(manager, SMALL, 1)
    sealed = 0
    honest = Sealer.seal

    def interrupted(self: Sealer, chunk: memoryview) -> None:
        nonlocal sealed
        sealed += len(chunk)
        if sealed > after:
            raise KeyboardInterrupt
        honest(self, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(Sealer, "seal", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(manager, LARGE, 2)
    assert_as_before(run, ["step-000001"])
    save(manager, SMALL, 2)
    assert_as_before(run, ["step-000001", "step-000002"])


SAVER = """
import sys, torch
from ckpt import CheckpointConfig, CheckpointManager, Run, TrainingState
torch.set_num_threads(1)
run = Run.resume("r", sys.argv[1])
manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=2))
weights = {"w": torch.arange(400_000.0)}
step = 10 * run.attempt
print("up", flush=True)
while True:
    step += 1
    manager.save_checkpoint(weights, TrainingState(0, step, 0.1, 1.0 / step)).result()
    print(step, flush=True)
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment_what_was_acknowledged_is_there(
    tmp_path: Path, kind: signal.Signals, fork_server: ForkServer
) -> None:
    Run.create("r", tmp_path).close()
    for turn in range(4):
        training = fork_server.start(SAVER, str(tmp_path), cwd=tmp_path)
        while training.stdout.count("\n") < 2:
            assert training.is_alive(), training.stderr
            time.sleep(0.001)
        time.sleep(0.013 * turn + 0.02)
        os.kill(training.pid, kind)
        training.wait(30)
        _up, *told = training.stdout.split()
        manager = CheckpointManager(tmp_path / "r")
        known = {c.step for c in manager.list_checkpoints()}
        if told:  # the one before it may have gone for one that was committed and not told of
            assert int(told[-1]) in known
        for found in manager.list_checkpoints():
            assert torch.equal(manager.load_checkpoint(found)["weights"]["w"], torch.arange(400_000.0))
    with Run.resume("r", tmp_path) as run:
        save(CheckpointManager(run), SMALL, 9999)
        assert torch.load(run.paths.latest, weights_only=True)["global_step"] == 9999
    if kind == signal.SIGINT:
        assert not [n for n in os.listdir(run.paths.checkpoints) if n.endswith(".tmp")]


def test_upkeep_that_fails_does_not_fail_the_save(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=1))
    save(manager, SMALL, 1)
    run.paths.trash.write_text("in the way")
    with pytest.warns(RuntimeWarning, match="could not be removed"):
        assert save(manager, SMALL, 2).step == 2
    assert len(manager.list_checkpoints()) == 2


def test_leftovers_of_a_dead_process_go_at_the_next_start(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        pass
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    leftover = run.paths.checkpoints / f".step-000001.pt.{done.stdout.strip()}-0123abcd.tmp"
    leftover.write_bytes(b"x")
    os.utime(leftover, (1, 1))
    with Run.resume("r", tmp_path):
        assert not leftover.exists()


def test_a_directory_that_vanished_is_a_save_error(run: Run) -> None:
    manager = CheckpointManager(run)
    save(manager, SMALL, 1)
    shutil.rmtree(run.paths.directory)
    with pytest.raises(SaveError, match="No such file"):
        save(manager, SMALL, 2)
