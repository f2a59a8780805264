"""A wall clock that jumps while the daemon runs: nothing is purged early, nothing hangs, nothing stays wrong."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.files import FileLock
from ckpt.paths import RunPaths

Until = Callable[..., Any]
Weights = Callable[..., Path]
HOUR = 3600
BUSY_S = 120.0  # three full looks of a daemon that gives way to everybody, and rests after each by how long it took
YEARS = 10 * 365 * 24 * HOUR


class Clock:
    """The wall clock of the processes that are started with its environment."""

    def __init__(self, library: Path, file: Path) -> None:
        self.file = file
        self.environment = {"LD_PRELOAD": str(library), "CKPTD_FAULT_CLOCK": str(file)}
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Sets it so many seconds ahead of the true time."""
        if not self.file.exists():
            self.file.write_bytes(bytes(8))
        with open(self.file, "r+b") as stream:
            stream.write(struct.pack("=q", seconds))


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock that stands right at first."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    made = Clock(library, tmp_path / "clock")
    made.jump(YEARS)
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env={**os.environ, **made.environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if float(told) < YEARS:
        pytest.skip("this interpreter does not ask the C library for the time")
    made.jump(0)
    return made


@pytest.fixture
def training(root: Path, runs: Any) -> Iterator[Path]:
    """A run that trains: its lock is held by this process."""
    directory: Path = runs.run("training", checkpoints=1, base=root)
    with FileLock(RunPaths(directory).lock) as lock:
        lock.path.write_text(f'{{"pid": {os.getpid()}, "program": "train.py"}}')
        yield directory


def status_of(daemon: Any, run: str) -> str:
    """How a run fares."""
    return str(daemon.get("/v1/run", run=run)["run"]["status"])


@pytest.mark.parametrize("ahead", [-HOUR, 48 * HOUR, YEARS, -YEARS])
def test_a_jump_purges_nothing_and_hides_nothing(
    ahead: int,
    clock: Clock,
    start: Callable[..., Any],
    root: Path,
    runs: Any,
    weights: Weights,
    training: Path,
    until: Until,
    equals_scan: Callable[..., None],
) -> None:
    pruned = runs.run("pruned", checkpoints=3, base=root, policy={"keep_last": 1})
    weights(root / "foreign" / "model-1.safetensors")
    daemon = start("--watch", root, CKPTD_RESCAN_S="0.3", **clock.environment)
    until(lambda: len(daemon.get("/v1/trash")["entries"]) == 2)
    assert status_of(daemon, "training") == "training"

    clock.jump(ahead)
    looks = daemon.status()["looks"]["full"]
    until(lambda: daemon.status()["looks"]["full"] >= looks + 3, BUSY_S)
    weights(root / "foreign" / "model-2.safetensors")
    weights(root / "new" / "model.safetensors")
    runs.checkpoint(pruned, step=900, loss=0.01)
    until(lambda: daemon.runs().get("foreign") == 2 and "new" in daemon.runs())
    until(lambda: daemon.get("/v1/resolve", ref="pruned@latest")["checkpoint"]["step"] == 900)
    daemon.post("/v1/marks", ref=str(root / "foreign" / "model-2.safetensors"), kind="pin")
    entries = daemon.get("/v1/trash")["entries"]
    assert len(entries) >= 2, "nothing that was removed a moment ago is purged"
    assert daemon.events("checkpoint.purged") == []
    assert daemon.events("checkpoint.gone") == []
    assert daemon.root()["state"] == "ok"
    assert (daemon.root()["full_in_s"] or 1) > 0

    clock.jump(0)
    looks = daemon.status()["looks"]["full"]
    until(lambda: daemon.status()["looks"]["full"] >= looks + 3, BUSY_S)
    until(lambda: status_of(daemon, "training") == "training")
    assert daemon.events("checkpoint.purged") == []
    assert 0 <= daemon.status()["uptime_s"] < HOUR
    weights(root / "foreign" / "model-3.safetensors")
    until(lambda: daemon.runs()["foreign"] == 3)
    equals_scan(daemon, root)
    assert daemon.end() == 0


def test_a_daemon_that_was_started_in_the_wrong_year_ends_up_right(
    clock: Clock,
    start: Callable[..., Any],
    root: Path,
    runs: Any,
    weights: Weights,
    training: Path,
    until: Until,
    equals_scan: Callable[..., None],
) -> None:
    """As a machine without a battery does, whose clock is set after the start."""
    runs.run("pruned", checkpoints=3, base=root, policy={"keep_last": 1})
    weights(root / "foreign" / "model-1.safetensors")
    clock.jump(-YEARS)
    daemon = start("--watch", root, CKPTD_RESCAN_S="0.3", **clock.environment)
    seq = daemon.status()["seq"]
    until(lambda: len(daemon.get("/v1/trash")["entries"]) == 2)
    clock.jump(0)
    looks = daemon.status()["looks"]["full"]
    until(lambda: daemon.status()["looks"]["full"] >= looks + 3, BUSY_S)
    assert len(daemon.get("/v1/trash")["entries"]) == 2
    assert daemon.events("checkpoint.purged") == []
    until(lambda: status_of(daemon, "training") == "training")
    weights(root / "foreign" / "model-2.safetensors")
    until(lambda: daemon.runs()["foreign"] == 2)
    assert daemon.status()["seq"] > seq
    equals_scan(daemon, root)


@pytest.mark.parametrize("ahead", [48 * HOUR, YEARS])
def test_a_daemon_that_is_started_while_the_clock_is_ahead_purges_nothing(
    ahead: int, clock: Clock, start: Callable[..., Any], root: Path, runs: Any, until: Until
) -> None:
    """As after an update of a machine whose clock is wrong: what waits goes on to wait."""
    runs.run("pruned", checkpoints=3, base=root, policy={"keep_last": 1})
    daemon = start("--watch", root, CKPTD_RESCAN_S="0.3", **clock.environment)
    until(lambda: len(daemon.get("/v1/trash")["entries"]) == 2)
    assert daemon.end() == 0
    clock.jump(ahead)
    for _ in range(2):
        daemon = start("--watch", root, CKPTD_RESCAN_S="0.3", **clock.environment)
        until(lambda daemon=daemon: daemon.status()["looks"]["full"] >= 3, BUSY_S)
        assert len(daemon.get("/v1/trash")["entries"]) == 2
        assert daemon.events("checkpoint.purged") == []
        assert daemon.end() == 0


def test_an_idle_daemon_is_not_ended_by_a_jump(clock: Clock, start: Callable[..., Any], root: Path) -> None:
    daemon = start("--watch", root, "--idle-exit", CKPTD_IDLE_EXIT_S="20", CKPTD_RESCAN_S="0.3", **clock.environment)
    for ahead in (YEARS, -YEARS, 0):
        clock.jump(ahead)
        daemon.look()
    assert daemon.process.poll() is None
    assert daemon.end() == 0
