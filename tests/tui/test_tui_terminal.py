"""The dashboard in a real terminal: drawn by tmux, driven by keys, left by q."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="tmux is not installed: no real terminal to draw on"
)


class Terminal:
    """A tmux server of its own with one pane."""

    def __init__(self, socket: Path, width: int, height: int) -> None:
        self._base = ["tmux", "-S", str(socket), "-f", os.devnull]
        self._size = ["-x", str(width), "-y", str(height)]

    def tmux(self, *words: str) -> str:
        done = subprocess.run([*self._base, *words], capture_output=True, text=True, check=False)
        return done.stdout

    def start(self, *command: str) -> None:
        line = f"{shlex.join(command)}; echo left with $?; exec sleep 60"
        self.tmux("new-session", "-d", "-s", "t", *self._size, "sh", "-c", line)

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "t", *keys)

    def wait_for(self, text: str) -> str:
        deadline = time.monotonic() + 30
        while text not in (shown := self.tmux("capture-pane", "-p", "-t", "t")):
            assert time.monotonic() < deadline, f"{text!r} never came:\n{shown}"
            time.sleep(0.05)
        return shown


@pytest.fixture
def terminal(own_places: Path) -> Iterator[Terminal]:
    made = Terminal(own_places / "tmux", 120, 32)
    yield made
    made.tmux("kill-server")


def test_a_run_is_seen_live_filtered_and_left(terminal: Terminal, runs: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=3)
    ckpt = str(Path(sys.executable).parent / "ckpt")
    terminal.start("env", "-u", "COLUMNS", "-u", "LINES", "CKPTD_AUTOSTART=0", ckpt, "tui", str(tmp_path))
    shown = terminal.wait_for("▴")
    assert "exp1" in shown and "1 Runs" in shown and "3 loss" in shown
    runs.checkpoint(directory, step=40, epoch=4, loss=0.25)
    assert "· 4 " in terminal.wait_for("0.2500")
    terminal.press("Enter")
    terminal.press("/")
    terminal.wait_for("words, or")
    terminal.press("-l", "step<30")
    terminal.wait_for("2 of 4 checkpoints")
    terminal.press("Escape")
    terminal.wait_for("mark")
    terminal.press("?")
    terminal.wait_for("Looking")
    terminal.press("q")
    terminal.wait_for("2 Checkpoints")
    terminal.press("q")
    terminal.wait_for("left with 0")


def test_a_kill_leaves_the_terminal_as_it_was(terminal: Terminal, runs: Any, tmp_path: Path) -> None:
    """Regression: the alternate screen and the mouse reports stayed on."""
    runs.run("exp1", checkpoints=1)
    ckpt = Path(sys.executable).parent / "ckpt"
    kept = tmp_path / "pid"
    told = f"echo $$ >{shlex.quote(str(kept))}; exec env -u COLUMNS -u LINES {ckpt} tui {shlex.quote(str(tmp_path))}"
    terminal.start("sh", "-c", told)
    terminal.wait_for("1 Runs")
    os.kill(int(kept.read_text()), signal.SIGTERM)
    terminal.wait_for("left with 143")
    assert terminal.tmux("display", "-p", "-t", "t", "#{alternate_on} #{mouse_any_flag}").strip() == "0 0"
