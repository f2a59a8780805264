"""Real processes for tests of signals, made by forking one that has imported torch already, as that takes seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SERVER = """
import json, os, sys
import torch
import ckpt.hook
torch.set_num_threads(1)
for line in iter(sys.stdin.readline, ""):
    asked = json.loads(line)
    if "end" in asked:
        os._exit(0)
    if "wait" in asked:
        print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        output = os.open(asked["output"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
            os.dup2(number, target)
        sys.argv = ["script", *asked["argv"]]
        break
    print(pid, flush=True)
else:
    os._exit(0)
exec(compile(asked["script"], "script", "exec"), {"__name__": "__main__"})
"""


class Started:
    """One process, as the test sees it."""

    def __init__(self, server: Server, pid: int, output: Path) -> None:
        self._server = server
        self._output = output
        self.pid = pid

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
        return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"

    def wait(self) -> int:
        """The exit status, or the negative number of the signal that ended it."""
        deadline = time.monotonic() + 60
        while self.is_alive():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                self._server.ask({"wait": self.pid})
                raise AssertionError(f"it did not end:\n{self.output}")
            time.sleep(0.01)
        return self._server.ask({"wait": self.pid})


class Server:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, what: dict[str, object]) -> int:
        """One request, one number."""
        self._tell(what)
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def start(self, output: Path, script: str, *argv: object) -> Started:
        """A process that runs a script."""
        asked = {"script": script, "output": str(output), "argv": [str(item) for item in argv]}
        return Started(self, self.ask(asked), output)

    def close(self) -> None:
        """Ends it. It is told to, as its input may stay open: workers of loaders that live on hold its other end."""
        self._tell({"end": True})
        self._process.wait(60)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def _tell(self, what: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()
