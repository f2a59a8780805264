"""Real processes for tests of signals."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fork_server import Forked, ForkServer


class Started:
    """One process, as the test sees it."""

    def __init__(self, process: Forked) -> None:
        self._process = process
        self.pid = process.pid

    @property
    def output(self) -> str:
        """What it wrote so far, errors included."""
        return self._process.stdout

    def until(self, text: str, count: int = 1) -> None:
        """Waits until it wrote a text so many times."""
        deadline = time.monotonic() + 60
        while self.output.count(text) < count:
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.output}"
            time.sleep(0.01)

    def send(self, *numbers: int) -> None:
        """Sends signals."""
        for number in numbers:
            os.kill(self.pid, number)

    def send_until_it_ends(self, number: int) -> None:
        """Sends a signal again and again."""
        deadline = time.monotonic() + 60
        while self.is_alive():
            assert time.monotonic() < deadline, self.output
            self.send(number)
            time.sleep(0.2)

    def is_alive(self) -> bool:
        """Whether it runs; one that ended is a zombie until `wait`."""
        return self._process.is_alive()

    def wait(self) -> int:
        """The exit status, or the negative number of the signal that ended it."""
        return self._process.wait(60)


class Server:
    """Where processes are to be had."""

    def __init__(self, server: ForkServer, cwd: Path) -> None:
        self._server = server
        self._cwd = cwd

    def start(self, output: Path, script: str, *argv: object) -> Started:
        """A process that runs a script."""
        return Started(self._server.start(script, *map(str, argv), cwd=self._cwd, output=output))


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """Without what torch imports for optimizers: an interrupt that nobody caught ends these by SIGINT."""
    made = ForkServer(optimizers=False)
    yield made
    made.close()


@pytest.fixture
def server(forks: ForkServer, tmp_path: Path) -> Server:
    return Server(forks, tmp_path)
