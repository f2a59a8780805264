"""Trainings to kill, what strace does to them, and what has to hold of their runs afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import runpy
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from forking import forks_of

ROUNDS = int(os.environ.get("CKPTD_FAULT_ROUNDS") or 2)
ALL_FROM = 10  # rounds from which every point is tried
HERE = Path(__file__).parent
PATIENCE_S = 60.0
STRACE = shutil.which("strace")

weights_at: Callable[..., dict[str, Any]] = runpy.run_path(str(HERE / "trainer.py"))["weights_at"]


# Trainings


class Dead(Exception):
    """The training's process is gone."""


class Trainer:
    """A training in a process of its own, over its connection."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(address)
        self.answers, self.questions = self.socket.makefile("r"), self.socket.makefile("w")
        self.pid = 0

    def ask(self, act: str, **options: Any) -> None:
        """Asks without waiting for the answer."""
        with contextlib.suppress(OSError):
            self.questions.write(json.dumps({"do": act, **options}) + "\n")
            self.questions.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer. Raises Dead."""
        try:
            line = self.answers.readline()
        except ConnectionError:
            line = ""
        if not line:
            raise Dead
        found: dict[str, Any] = json.loads(line)
        return found

    def do(self, act: str, **options: Any) -> dict[str, Any]:
        """Asks and waits. Raises Dead."""
        self.ask(act, **options)
        return self.answer()

    def open(self, run: Path, **config: Any) -> Trainer:
        """Goes on with a run, or makes it."""
        answer = self.do("open", run=str(run), **config)
        assert "pid" in answer, answer
        self.pid = answer["pid"]
        return self

    def writers(self) -> list[int]:
        """The processes that it started and that still live."""
        return [pid for pid in started_by_this_test() if pid != self.pid]

    def waits(self) -> bool:
        """Whether it has not answered yet."""
        return not select.select([self.socket], [], [], 0)[0]

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not lives(self.pid), "the training is gone")

    def hang_up(self) -> None:
        """Closes the connection: the training's process ends without another word."""
        for one in (self.questions, self.answers, self.socket):
            with contextlib.suppress(OSError):
                one.close()


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def holders(directory: Path) -> list[int]:
    """Processes that have a file open at or below a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                links = [os.readlink(fd) for fd in (entry / "fd").iterdir()]
                if any(link == str(directory) or link.startswith(f"{directory}/") for link in links):
                    found.append(int(entry.name))
    return found


def started_by_this_test() -> list[int]:
    """Programs that live in the places of this test, which every program started by its trainings inherits."""
    mark = f"CKPTD_STATE_HOME={os.environ['CKPTD_STATE_HOME']}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and lives(int(entry.name)):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def wait_until(check: Callable[[], Any], what: str) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def trainers_at() -> Iterator[str]:
    """Where trainings are to be had: a process that has imported torch, from which each is forked."""
    with (
        tempfile.TemporaryDirectory(prefix="ck-", ignore_cleanup_errors=True) as place,
        forks_of(HERE / "trainer.py", Path(place)) as address,
    ):
        yield address


@pytest.fixture
def trainer(trainers_at: str) -> Iterator[Callable[..., Trainer]]:
    """Starts trainings: `trainer(run, background="process")`; none of them outlives the test."""
    made: list[Trainer] = []

    def start(run: Path, **config: Any) -> Trainer:
        made.append(Trainer(trainers_at))
        places = {name: value for name, value in os.environ.items() if name.startswith("CKPTD_")}
        return made[-1].open(run, environment=places, **config)

    yield start
    for one in made:
        one.hang_up()
        if one.pid:
            one.kill()


# Calls


class Point(NamedTuple):
    """One call of a save: the `when`-th of that name since strace was attached, and whose it is."""

    who: str
    call: str
    when: int
    line: str

    def __str__(self) -> str:
        return f"{self.who}: {self.call} number {self.when}: {self.line}"


class Strace:
    """strace on a process with all its threads, until that or strace ends."""

    def __init__(self, pid: int, log: Path, *options: str) -> None:
        assert STRACE is not None
        self.log = log
        self.process = subprocess.Popen(
            [STRACE, "-f", "-y", "-s", "16", "-o", str(log), *options, "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()

    def end(self) -> None:
        """Lets the process go."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE_S)

    def calls(self, who: str) -> list[Point]:
        """What it saw; each thread counts its own calls, and the first to come to a number is who was meant."""
        counts: dict[tuple[str, str], int] = {}
        found: dict[tuple[str, int], Point] = {}
        for line in self.log.read_text("utf-8", "replace").splitlines():
            if match := re.match(r"(\d+) +(\w+)\((.*)", line):
                thread, call, rest = match.groups()
                number = counts[thread, call] = counts.get((thread, call), 0) + 1
                found.setdefault((call, number), Point(who, call, number, rest[:160]))
        return list(found.values())


@pytest.fixture
def strace(tmp_path: Path) -> Iterator[Callable[..., Strace]]:
    """Attaches strace: `strace(pid, "-e", "inject=…")`. Skips the test where that is not to be had."""
    if STRACE is None:
        pytest.skip("strace is not there")
    made: list[Strace] = []

    def attach(pid: int, *options: str) -> Strace:
        made.append(Strace(pid, tmp_path / f"strace-{len(made)}.log", *options))
        if "not permitted" in made[-1].said:
            pytest.skip(f"strace may not trace here: {made[-1].said.strip()}")
        assert "attached" in made[-1].said, made[-1].said
        return made[-1]

    yield attach
    for one in made:
        one.end()


@pytest.fixture
def some(chance: random.Random) -> Callable[..., list[Any]]:
    """A few of many by chance, two a round; all when CKPTD_FAULT_ROUNDS asks for many."""

    def choose(found: Sequence[Any]) -> list[Any]:
        few = len(found) if ROUNDS >= ALL_FROM else min(2 * ROUNDS, len(found))
        return chance.sample(list(found), few)

    return choose


# What has to hold


def steps_of(run: Path) -> dict[int, Path]:
    """The listed checkpoints by step. Raises AssertionError unless each holds exactly what was saved."""
    import torch

    from ckpt import CheckpointManager, Run

    opened = Run.open(run)
    manager = CheckpointManager(opened)
    found: dict[int, Path] = {}
    for checkpoint in opened.checkpoints():
        if checkpoint.state != "complete":
            continue
        loaded = manager.load_checkpoint(checkpoint.path, verify=True)
        step = loaded["state"].global_step
        assert step == checkpoint.step, checkpoint.path
        weights = loaded["weights"]
        expected = weights_at(step, weights["big"].numel())
        assert weights.keys() == expected.keys(), checkpoint.path
        assert all(torch.equal(weights[name], expected[name]) for name in expected), checkpoint.path
        found[step] = Path(checkpoint.path)
    return found


def temporaries(run: Path) -> list[Path]:
    """Files under temporary names in a run."""
    return [path for path in run.rglob(".*") if path.name.endswith(".tmp")]


class Promise:
    """What was acknowledged of a run, and what may be there besides."""

    def __init__(self, run: Path, trainer: Callable[..., Trainer]) -> None:
        self.run = run
        self.trainer = trainer
        self.acked: set[int] = set()
        self.begun: set[int] = set()

    def save(self, training: Trainer, step: int) -> dict[str, Any]:
        """One save. What it answers; `{}` when the training died."""
        self.begun.add(step)
        try:
            answer = training.do("save", step=step)
        except Dead:
            return {}
        if "acked" in answer:
            self.acked.add(step)
        return answer

    def check(self, where: object = "") -> dict[int, Path]:
        """Every acknowledged checkpoint is listed bit for bit, and nothing that is not whole."""
        listed = steps_of(self.run)
        assert self.acked <= listed.keys(), f"lost {self.acked - listed.keys()}; {where}"
        assert listed.keys() <= self.begun, where
        return listed

    def settle(self, where: object = "") -> None:
        """Waits until no process of a killed training is left, nor anything that holds its files."""
        wait_until(lambda: not started_by_this_test(), f"writers are gone; {where}")
        wait_until(lambda: not holders(self.run), f"nobody holds files of the run; {where}")

    def go_on(self, where: object = "", **config: Any) -> None:
        """The training starts again at once, saves, and leaves nothing behind of what was killed."""
        hour_ago = time.time() - 3600
        for path in temporaries(self.run):
            writer = path.name.rpartition(".tmp")[0].rpartition(".")[2].partition("-")[0]
            wait_until(lambda writer=writer: not os.path.exists(f"/proc/{writer}"), f"{writer} is no zombie; {where}")
            os.utime(path, (hour_ago, hour_ago), follow_symlinks=False)
        listed = self.check(where)
        again = self.trainer(self.run, **config)
        assert again.do("resume") == {"resumed": max(listed), "told": []}, where
        answer = self.save(again, max(self.begun) + 1)
        assert "acked" in answer, f"{answer}; {where}"
        assert again.do("end").get("ended"), where
        self.check(where)
        assert temporaries(self.run) == [], where
        self.settle(where)
        again.hang_up()


@pytest.fixture
def promise(tmp_path: Path, trainer: Callable[..., Trainer]) -> Callable[..., Promise]:
    """A promise on a new run, of that name or at that path."""

    def begin(name: str | Path = "run") -> Promise:
        return Promise(tmp_path / name, trainer)

    return begin


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """`lives`."""
    return lives


@pytest.fixture
def leftovers() -> Callable[[Path], list[Path]]:
    """`temporaries`."""
    return temporaries
