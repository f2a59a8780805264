"""Real processes for tests of signals."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forking import forks_of


class Started:
    """One process, as the test sees it."""

    def __init__(self, address: str, asked: dict[str, object], output: Path) -> None:
        self._output = output
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        self._lines = self._socket.makefile("rw")
        self._tell(json.dumps(asked))
        self.pid = int(self._lines.readline())

    @property
    def output(self) -> str:
        """What it wrote so far, errors included."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

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
        return not select.select([self._socket], [], [], 0)[0]

    def wait(self) -> int:
        """The exit status, or the negative number of the signal that ended it."""
        in_time = bool(select.select([self._socket], [], [], 60)[0])
        if not in_time:
            os.kill(self.pid, signal.SIGKILL)
        self._lines.readline()
        self._tell("seen")
        status = int(self._lines.readline())
        self._lines.close()
        self._socket.close()
        assert in_time, f"it did not end:\n{self.output}"
        return status

    def _tell(self, line: str) -> None:
        self._lines.write(f"{line}\n")
        self._lines.flush()


class Server:
    """Where processes are to be had."""

    def __init__(self, address: str) -> None:
        self._address = address

    def start(self, output: Path, script: str, *argv: object) -> Started:
        """A process that runs a script."""
        asked = {"script": script, "output": str(output), "argv": [str(item) for item in argv]}
        return Started(self._address, asked, output)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="ck-") as base,
        forks_of(Path(__file__).with_name("script_server.py"), Path(base)) as address,
    ):
        yield Server(address)
