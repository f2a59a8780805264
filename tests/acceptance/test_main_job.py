"""The main job with the real programs: a daemon watches a real training that is killed, resumed, forked, pruned."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fork_server import Forked, ForkServer

BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class World:
    """A directory of runs, a daemon that watches it, and the commands."""

    def __init__(self, base: Path, server: ForkServer) -> None:
        self.runs = base / "runs"
        self.runs.mkdir()
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.trainings: list[Forked] = []
        self._server = server

    def daemon(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [BIN / "ckptd", "run", "--watch", self.runs], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.daemons.append(child)
        # Without a daemon a short-lived process answers: what counts is that this one does.
        until(lambda: (self.json("status")["daemon"] or {}).get("pid") == child.pid, "the daemon answers")
        return child

    def train(self, *argv: str) -> Forked:
        child = self._server.start(EXAMPLES / "train.py", "--base-dir", str(self.runs), *argv, cwd=self.runs.parent)
        self.trainings.append(child)
        return child

    def ckpt(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [BIN / "ckpt", *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, f"ckpt {argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *argv: str) -> Any:
        return json.loads(self.ckpt(*argv, "--json").stdout)

    def run(self, name: str) -> dict[str, Any] | None:
        return next((r for r in self.json("ls")["runs"] if r["name"].split("/")[-1] == name), None)

    def close(self) -> None:
        for training in self.trainings:
            training.kill()
        for child in self.daemons:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stderr:
                child.stderr.close()


def until(ready: Callable[[], Any], what: str, limit_s: float = 40.0) -> Any:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        value = ready()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {limit_s} s")


def ended(child: Forked) -> None:
    assert child.wait(timeout=120) == 0, child.stderr


def content(directory: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.iterdir() if p.is_file()}


@pytest.fixture
def world(tmp_path: Path, fork_server: ForkServer) -> Iterator[World]:
    world = World(tmp_path, fork_server)
    yield world
    world.close()


@pytest.mark.timeout(300)
def test_watched_killed_resumed_forked_pruned_undone(world: World) -> None:
    daemon = world.daemon()

    # Watched while it writes; killed in the middle.
    child = world.train("--name", "exp1", "--lr", "0.1", "--epochs", "30", "--slow", "0.02")
    until(lambda: (world.run("exp1") or {}).get("checkpoints", 0) >= 2, "two checkpoints are seen")
    assert world.run("exp1")["status"] == "training"
    child.kill()
    until(lambda: world.run("exp1")["status"] == "failed", "the killed run is told")
    for checkpoint in world.json("ls", "exp1")["checkpoints"]:
        assert checkpoint["state"] in ("complete", "incomplete", "writing")

    # A second process may not resume what one resumes already.
    child = world.train("--resume", "exp1", "--epochs", "30", "--slow", "0.01")
    until(lambda: world.run("exp1")["status"] == "training", "the resumed run trains")
    second = world.train("--resume", "exp1", "--epochs", "30")
    assert second.wait(timeout=60) != 0
    assert str(child.pid) in second.stderr
    ended(child)
    until(lambda: world.run("exp1")["status"] == "finished", "the run has finished")

    # What was kept, and why.
    listing = world.json("ls", "exp1")
    best = [c for c in listing["checkpoints"] if "best" in c["tags"]]
    assert len(best) == 1 and best[0]["id"] == listing["run"]["best"]
    assert listing["checkpoints"][0]["id"] == listing["run"]["latest"]
    assert all(c["verdict"]["action"] == "keep" and c["verdict"]["reasons"] for c in listing["checkpoints"])
    entries = world.json("trash", "ls")["entries"]
    assert entries and all(e["reasons"] or e.get("near_misses") for e in entries)

    # Undo gives one back, byte for byte, and it stays.
    before = content(world.runs / "exp1" / "checkpoints")
    world.ckpt("undo", "--yes")
    back = content(world.runs / "exp1" / "checkpoints")
    assert before.items() <= back.items() and len(back) > len(before)
    time.sleep(1.0)
    assert content(world.runs / "exp1" / "checkpoints").keys() == back.keys()

    # A fork has its parent; the parent's checkpoint is held.
    world.ckpt("fork", "exp1@best", "exp2")
    fork = until(lambda: world.run("exp2"), "the fork is seen")
    assert fork["parent"]["run"] == listing["run"]["id"] and fork["parent"]["checkpoint"] == best[0]["id"]
    assert world.ckpt("diff", "exp1@best", "exp1@~1", check=False).returncode in (0, 1)

    # One daemon at a time; TERM drains it.
    other = subprocess.run([BIN / "ckptd", "run"], capture_output=True, text=True, timeout=30, check=False)
    assert other.returncode == 3 and str(daemon.pid) in other.stderr
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=15) == 0


@pytest.mark.timeout(200)
def test_a_killed_daemon_loses_nothing(world: World) -> None:
    daemon = world.daemon()
    child = world.train("--name", "exp1", "--lr", "0.1", "--epochs", "6")
    ended(child)
    until(lambda: (world.run("exp1") or {}).get("status") == "finished", "the run is seen")
    world.ckpt("tag", "add", "exp1@best", "paper")
    world.ckpt("pin", "exp1@latest")
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    world.daemon()
    until(lambda: (world.run("exp1") or {}).get("checkpoints"), "the new daemon has looked")
    seen = world.json("ls", "exp1")
    fresh = subprocess.run(
        [BIN / "ckptd", "once", world.runs, "--get", "/v1/run?run=exp1"], capture_output=True, text=True, check=True
    )
    expected = json.loads(fresh.stdout)
    for ours, theirs in zip(seen["checkpoints"], expected["checkpoints"], strict=True):
        for field in ("id", "path", "state", "step", "epoch", "metrics", "tags", "pinned", "bytes"):
            assert ours[field] == theirs[field]
    assert any("paper" in c["tags"] for c in seen["checkpoints"]) and any(c["pinned"] for c in seen["checkpoints"])


@pytest.mark.timeout(120)
def test_the_socket_is_for_this_user_only(world: World, own_places: Path) -> None:
    world.daemon()
    socket = next((own_places / "run").glob("*.sock"))
    assert socket.stat().st_mode & 0o777 == 0o600
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    if os.getuid() == 0:
        code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(socket)!r})"
        done = subprocess.run(
            ["setpriv", "--reuid", "65534", "--clear-groups", "/usr/bin/python3", "-c", code],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "PermissionError" in done.stderr
