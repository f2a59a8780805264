"""SIGKILL of the live daemon at system calls that change files, and calls that fail under it, by strace.

Every test attaches to a running daemon, has it take marks and new checkpoints, and looks at what is there afterwards.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.client import daemon_note
from ckpt.exceptions import CkptError
from ckpt.paths import StatePaths

Until = Callable[..., Any]
Weights = Callable[..., Path]

STRACE = shutil.which("strace")
CHANGING = "openat,write,ftruncate,fsync,rename,renameat,renameat2,link,unlink,unlinkat,mkdir,mkdirat"
POINTS = 3  # in one round


class Strace:
    """strace on a live process, until that or strace ends."""

    def __init__(self, pid: int, log: Path, *options: str) -> None:
        assert STRACE is not None
        self.log = log
        self.process = subprocess.Popen(
            [STRACE, "-f", "-y", "-o", str(log), *options, "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()

    @property
    def attached(self) -> bool:
        """Whether it may trace that process."""
        return "attached" in self.said

    def end(self) -> None:
        """Lets the process go."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Callable[..., Strace]]:
    """Attaches strace to a daemon: `traced(daemon, "-e", "inject=…")`."""
    if STRACE is None:
        pytest.skip("strace is not there")
    made: list[Strace] = []

    def attach(daemon: Any, *options: str) -> Strace:
        made.append(Strace(daemon.pid, tmp_path / f"strace-{len(made)}.log", *options))
        if not made[-1].attached:
            pytest.skip(f"strace may not trace here: {made[-1].said.strip()}")
        return made[-1]

    yield attach
    for one in made:
        one.end()


@pytest.fixture
def filled(root: Path, runs: Any, weights: Weights) -> Path:
    """The root with an own and a foreign run."""
    runs.run("own", checkpoints=2, base=root)
    weights(root / "foreign" / "model-1.safetensors")
    return root


def work(daemon: Any, root: Path, runs: Any, weights: Weights, until: Until, said: dict[str, str]) -> None:
    """Marks and new checkpoints, until all is written or the daemon is dead; `said` gets what was acknowledged."""
    number = len(list((root / "foreign").iterdir()))
    own, foreign = root / "own/checkpoints/step-000010.pt", root / "foreign/model-1.safetensors"
    with contextlib.suppress(CkptError, OSError, http.client.HTTPException, AssertionError):
        for name, ref in ((f"a{number}", own), (f"b{number}", foreign)):
            daemon.post("/v1/marks", ref=str(ref), kind="tag", name=name)
            said[name] = str(ref)
        weights(root / "foreign" / f"model-{number + 1}.safetensors", number)
        weights(root / f"new-{number}" / "model.safetensors")
        daemon.post("/v1/marks", ref=str(foreign), kind="tag", name=f"c{number}")
        said[f"c{number}"] = str(foreign)
        catalog = StatePaths.here().catalog
        files = len(list(catalog.glob("*.json")))
        until(lambda: daemon.process.poll() is not None or len(list(catalog.glob("*.json"))) > files, 1.5)


def lost(daemon: Any, said: dict[str, str]) -> list[str]:
    """Acknowledged tags that are not there."""
    return [n for n, ref in said.items() if n not in daemon.get("/v1/resolve", ref=ref)["checkpoint"]["tags"]]


@pytest.mark.usefixtures("turn")
def test_a_kill_at_any_call_loses_no_acknowledged_mark_and_no_run(
    start: Callable[..., Any],
    traced: Callable[..., Strace],
    filled: Path,
    runs: Any,
    weights: Weights,
    until: Until,
    chance: random.Random,
    equals_scan: Callable[..., None],
) -> None:
    said: dict[str, str] = {}
    daemon = start("--watch", filled, CKPTD_FLUSH_S="0.05")
    watched = traced(daemon, "-e", f"trace={CHANGING}")
    work(daemon, filled, runs, weights, until, said)
    watched.end()
    # Calls on the daemon's own files and on the marks in the run; a thread counts its own calls.
    ours = [str(StatePaths.here().directory), str(filled)]
    lines = [line for line in watched.log.read_text("utf-8", "replace").splitlines() if any(o in line for o in ours)]
    calls = sorted({match[1] for line in lines if (match := re.match(r"\d+ +(\w+)\(", line))})
    assert {"openat", "fsync", "write"} <= set(calls), calls
    assert any(call.startswith("rename") for call in calls), calls
    for _ in range(POINTS):
        call, number = chance.choice(calls), chance.randrange(1, 5)
        where = [option for path in ours for option in ("-P", path)] if chance.random() < 0.3 else []
        killer = traced(daemon, *where, "-e", f"inject={call}:signal=KILL:when={number}+")
        work(daemon, filled, runs, weights, until, said)
        daemon.process.kill()
        daemon.process.wait()
        killer.end()
        assert daemon_note() is None
        daemon = start("--watch", filled, CKPTD_FLUSH_S="0.05")
        assert lost(daemon, said) == [], (call, number)
        assert not daemon.status()["problems"], (call, number)
        equals_scan(daemon, filled)
    assert daemon.end() == 0
    assert not list(StatePaths.here().directory.rglob("*.tmp")), "what killed daemons were writing is swept"


@pytest.mark.parametrize(
    "fault",
    [
        "fsync:error=EIO:when=1+",
        "write:error=ENOSPC:when=2+3",
        "rename,renameat,renameat2:error=EIO:when=1+",
        "openat:error=EMFILE:when=3+4",
        "openat:error=EIO:when=2+5",
        "getdents64:error=EIO:when=1+2",
        "newfstatat,statx:error=EIO:when=5+7",
        "inotify_add_watch:error=ENOSPC:when=1+",
    ],
)
def test_calls_that_fail_for_a_while_leave_nothing_wrong(
    fault: str,
    start: Callable[..., Any],
    traced: Callable[..., Strace],
    filled: Path,
    runs: Any,
    weights: Weights,
    until: Until,
    equals_scan: Callable[..., None],
) -> None:
    said: dict[str, str] = {}
    daemon = start("--watch", filled, CKPTD_RESCAN_S="0.3", CKPTD_FLUSH_S="0.05", CKPTD_POLL_S="0.3")
    work(daemon, filled, runs, weights, until, said)
    before = set(daemon.runs())
    tracer = traced(daemon, "-e", f"inject={fault}")
    work(daemon, filled, runs, weights, until, said)
    runs.checkpoint(filled / "own", step=500)
    weights(filled / "during" / "model.safetensors")
    work(daemon, filled, runs, weights, until, said)
    assert daemon.process.poll() is None, daemon.said()[-3000:]
    tracer.end()
    until(lambda: daemon.root()["state"] == "ok")
    until(lambda: before <= set(daemon.runs()))
    assert daemon.events("run.removed") == []
    until(lambda: lost(daemon, said) == [])
    equals_scan(daemon, filled)
    weights(filled / "after" / "deep" / "model.safetensors")
    until(lambda: "deep" in daemon.runs())
    assert daemon.end() == 0
    again = start("--watch", filled)
    assert lost(again, said) == []
    equals_scan(again, filled)


def test_the_end_under_a_tracer_is_still_an_end(
    start: Callable[..., Any], traced: Callable[..., Strace], filled: Path
) -> None:
    daemon = start("--watch", filled)
    traced(daemon, "-e", "inject=fsync:error=EIO:when=1+")
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.process.wait(20) == 0


def test_what_a_killed_daemon_was_writing_is_swept_by_the_next(
    start: Callable[..., Any], traced: Callable[..., Strace], filled: Path, weights: Weights
) -> None:
    daemon = start("--watch", filled, CKPTD_FLUSH_S="0.05")
    traced(daemon, "-e", "inject=rename,renameat,renameat2:signal=KILL")
    weights(filled / "more" / "model.safetensors")
    daemon.process.wait(20)
    assert list(StatePaths.here().catalog.glob(".*.tmp"))
    start("--watch", filled)
    assert not list(StatePaths.here().directory.rglob("*.tmp"))
