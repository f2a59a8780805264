"""Power cuts on a file system of its own: what was acknowledged is there bit for bit, and nothing else that is listed.

FS_IOC_SHUTDOWN ends a mounted file system as a power cut does. Flag 2 drops what its journal holds, so that whatever
was not synced is lost; flag 1 keeps the journal, so that names may be there whose bytes are not.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FS_IOC_SHUTDOWN = 0x8004587D
FLAGS = {"journal lost": 2, "journal kept": 1}
IMAGE_BYTES = 320 << 20  # XFS takes no less
SMALL = 200_000  # float32 values of the largest tensor where many saves have to fit

Start = Callable[..., Any]


class Disk:
    """A file system in a file, which loses power when it is told to."""

    def __init__(self, kind: str, place: Path, mounts: Any) -> None:
        self.image, self.path, self.mounts = place / f"{kind}.img", place / kind, mounts
        self.image.touch()
        os.truncate(self.image, IMAGE_BYTES)
        subprocess.run([f"mkfs.{kind}", "-q", str(self.image)], check=True, capture_output=True)
        self.path.mkdir()
        self.mount()

    def mount(self) -> None:
        """Mounts it; the journal is replayed."""
        self.mounts.mount("-o", "loop", self.image, self.path)

    def cut(self, flag: int) -> None:
        """From now on nothing reaches it, and every call fails."""
        opened = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, FS_IOC_SHUTDOWN, struct.pack("=I", flag))
        finally:
            os.close(opened)

    def restart(self) -> None:
        """What the machine does when power is back."""
        self.mounts.unmount(self.path)
        self.mount()


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, mounts: Any) -> Iterator[Disk]:
    """An empty disk of each kind that can be made here."""
    if shutil.which(f"mkfs.{request.param}") is None:
        pytest.skip(f"mkfs.{request.param} is not there")
    made = Disk(request.param, tmp_path, mounts)
    yield made
    mounts.clean()
    made.image.unlink()


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("background", [False, "thread", "process"])
def test_what_was_acknowledged_survives_a_power_cut(
    background: Any, flag: str, disk: Disk, promise: Start, trainer: Start
) -> None:
    run = promise(disk.path / "run")
    training = trainer(run.run, background=background)
    for step in (1, 2):
        assert "acked" in run.save(training, step)
    disk.cut(FLAGS[flag])
    training.kill()
    run.settle()
    disk.restart()
    assert set(run.check()) == {1, 2}
    run.go_on(background=background)


@pytest.mark.parametrize("background", [False, "thread", "process"])
def test_a_power_cut_at_any_moment_leaves_what_was_acknowledged_and_no_wreck(
    background: Any, turn: int, disk: Disk, promise: Start, trainer: Start, chance: random.Random
) -> None:
    run = promise(disk.path / "run")
    training = trainer(run.run, background=background, big=SMALL)
    assert "acked" in run.save(training, 1)
    steps = range(2, 30)
    for step in steps:
        run.begun.add(step)
        training.ask("save", step=step)
    answers = [training.answer() for _ in range(chance.randrange(4))]
    time.sleep(chance.uniform(0.0, 0.05))
    disk.cut(list(FLAGS.values())[turn % 2])
    answers += [training.answer() for _ in range(len(steps) - len(answers))]
    run.acked |= {answer["acked"] for answer in answers if "acked" in answer}
    assert all("acked" in answer or "failed" in answer for answer in answers), answers
    training.kill()
    run.settle()
    disk.restart()
    run.go_on(run.acked, background=background, big=SMALL)
