"""The command `ckpt` in this process, and a real daemon for the commands that need one."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """stdout as text."""
        return self.raw.decode("utf-8")

    @property
    def json(self) -> Any:
        """stdout as the one JSON document that it must be."""
        assert self.raw.count(b"\n") == 1, self.out
        return json.loads(self.raw)

    @property
    def error(self) -> dict[str, Any]:
        """The error object on the last line of stderr."""
        error: dict[str, Any] = json.loads(self.err.strip().splitlines()[-1])["error"]
        return error


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


Command = Callable[..., Answer]


@pytest.fixture
def ckpt(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Calls the command line in this process: `ckpt("ls", directory)`.

    `terminal=True` makes stdout one; `answer="y"` puts a person at the keyboard who types that.
    """
    from ckpt_tui.cli import main

    def call(*argv: object, terminal: bool = False, answer: str | None = None) -> Answer:
        kind = Terminal if terminal else io.TextIOWrapper
        out, err = kind(io.BytesIO(), encoding="utf-8"), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        stdin = (
            Terminal(io.BytesIO(f"{answer}\n".encode()), encoding="utf-8")
            if answer is not None
            else io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        )
        monkeypatch.setattr(sys, "stdin", stdin)
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main([str(word) for word in argv])
        for stream in (out, err):
            stream.flush()
        code = ended.value.code
        assert isinstance(code, int)
        return Answer(code, out.buffer.getvalue(), err.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]

    return call


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real daemon that watches `tmp_path/runs`."""
    from ckpt.client import Client, daemon_note

    (tmp_path / "runs").mkdir(exist_ok=True)
    command = [str(Path(sys.executable).parent / "ckptd"), "run", "--watch", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while not (note := daemon_note() or {}).get("socket") or not Path(note["socket"]).exists():
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with Client.connect(autostart=False) as client:
            while not client.get("/v1/status")["daemon"].get("ready", True):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        process.stderr.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Calls a function until it gives something true, for at most 20 s."""

    def wait(check: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 20
        while not (value := check()):
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.05)
        return value

    return wait
