"""Programs that end, or are interrupted, while a save of theirs waits for room on a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import CheckpointConfig, TrainingHook
from ckpt.saving.sending import outbox
from fork_server import Forked, ForkServer

torch.set_num_threads(1)

TRAINING = """
import logging, sys, torch
from ckpt import CheckpointConfig, TrainingHook
from ckpt.saving.sending import outbox
where, background, how = sys.argv[1:]
logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
outbox._AT_EXIT_S = 0.5 if how == "left open" else 600.0
background = False if background == "inline" else background
hook = TrainingHook(torch.nn.Linear(1000, 1000), where, CheckpointConfig(when_disk_full="wait", background=background))
if how == "left open":
    hook.save()
else:
    with hook:
        hook.save()
        raise ValueError("the training failed")
"""


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB: no room for a checkpoint of 4 MB."""
    place = tmp_path / "full"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("this machine does not let us mount")
    try:
        yield place / "run"
    finally:
        deadline = time.monotonic() + 30  # a killed program's writer is there for a moment more
        while subprocess.run(["umount", place], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, "it cannot be unmounted"
            time.sleep(0.05)


@pytest.fixture
def start(fork_server: ForkServer, tmp_path: Path) -> Iterator[Callable[..., Forked]]:
    """Starts the training: `start(run, background, how)`."""
    programs: list[Forked] = []

    def started(run: Path, background: str, how: str) -> Forked:
        programs.append(fork_server.start(TRAINING, str(run), background, how, cwd=tmp_path))
        return programs[-1]

    yield started
    for program in programs:
        program.kill()


@pytest.mark.parametrize("background", ["thread", "process", "inline"])
def test_an_interrupt_ends_a_program_that_waits_for_room(
    full: Path, background: str, start: Callable[..., Forked]
) -> None:
    program = start(full, background, "fails")
    while "waits up to 1 hour for room on the disk" not in program.stdout:
        assert program.is_alive(), program.stderr
        time.sleep(0.01)
    time.sleep(0.2 if background != "inline" else 0)  # until it waits in the `with` statement's end
    os.kill(program.pid, signal.SIGINT)
    assert program.wait(60) not in (0, -signal.SIGKILL)
    output = program.stdout + program.stderr
    assert "KeyboardInterrupt" in output
    if background != "inline":
        assert "interrupted while it waited for room" in output
    assert os.listdir(full / "checkpoints") == []


@pytest.mark.parametrize("background", ["thread", "process"])
def test_a_program_that_ends_waits_a_while_only(full: Path, background: str, start: Callable[..., Forked]) -> None:
    program = start(full, background, "left open")
    assert program.wait(60) == 0
    output = program.stdout + program.stderr
    assert "waits up to 1 hour" in output and "No space left on device; the program ended; it needs 4" in output
    assert os.listdir(full / "checkpoints") == []


@pytest.mark.parametrize("background", ["thread", "process"])
def test_a_wait_that_was_cut_leaves_the_next_save_its_own(full: Path, background: Any) -> None:
    config = CheckpointConfig(when_disk_full="wait", background=background)
    hook = TrainingHook(torch.nn.Linear(1000, 1000), full, config)
    handle = hook.save()
    assert handle is not None
    with pytest.raises(TimeoutError):
        handle.result(0.2)
    outbox.Outbox.of(hook.run).queue.cut_waits(0, "interrupted")
    with pytest.raises(Exception, match="No space left on device; interrupted; it needs"):
        handle.result(60)
    hook.model = torch.nn.Linear(2, 2)
    assert hook.save().result(60).step == 0  # type: ignore[union-attr]
    hook.close()
