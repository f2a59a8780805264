"""The demonstration runs from start to end without a terminal, and leaves nothing running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"


def processes_with(text: str) -> list[int]:
    """Ids of processes whose environment or command line names a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in said:
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for left-over processes in /proc")
@pytest.mark.timeout(300)
def test_demo_runs_to_the_end(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    env = {**os.environ, "CK_DEMO_TEST": str(directory)}
    done = subprocess.run(
        [sys.executable, str(DEMO), str(directory)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        env=env,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = done.stdout
    for command in ("$ ckpt ls", "$ ckpt ls exp2", "$ ckpt plan", "$ ckpt diff exp1@best exp3@best"):
        assert command in out
    listing = out.split("$ ckpt ls\n")[1].split("$ ckpt ls exp2")[0]
    assert all(name in listing for name in ("exp1", "exp2", "exp3"))
    assert re.search(r"exp3.*exp1", listing), "the fork shows its parent"
    assert "killing exp2 with SIGKILL" in out and "resuming exp2" in out
    assert processes_with(str(directory)) == []
    trash = list((directory / "runs").glob("*/.trash/*/"))
    assert trash, "retention was at work"


@pytest.mark.timeout(120)
def test_demo_leaves_other_directories_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = subprocess.run(
        [sys.executable, str(DEMO), str(tmp_path)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0 and "not an earlier demonstration" in done.stderr
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_its_children(tmp_path: Path, sent: signal.Signals) -> None:
    directory = tmp_path / "demo"
    child = subprocess.Popen(
        [sys.executable, str(DEMO), str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CK_DEMO_TEST": str(directory)},
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(directory.glob("runs/*/states.jsonl")):
        time.sleep(0.1)
    child.send_signal(sent)
    assert child.wait(timeout=60) != 0
    assert processes_with(str(directory)) == []
