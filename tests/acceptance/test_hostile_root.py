"""A real daemon over a directory full of files that were built to harm who reads them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.client import Client, daemon_note
from ckpt.encoding import path_from_fields
from ckpt.exceptions import CkptError
from ckpt.formats.suffixes import may_be_file

EACH = {"bombs": 8}  # of the other kinds 60
RSS_MB = 150
NAMES = (b"escape-\x1b[31m\x07.pt", b"line\nbreak.pt", b"not-utf8-\xff\xfe.pt", b"title-\x1b]0;x\x07.pth", b"-rf.pt")


def until(check: Callable[[], Any], seconds: float = 150.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(CkptError):
            if found := check():
                return found
        time.sleep(0.05)
    raise AssertionError(f"{check} never came true")


@pytest.fixture
def root(produced: Callable[[str], Path], tmp_path: Path) -> Path:
    """A few hundred files of every kind, some of them under names that are hostile too."""
    root = tmp_path / "root"
    for kind in sorted(path for path in produced("hostile").iterdir() if path.is_dir()):
        files = [path for path in sorted(kind.iterdir()) if may_be_file(path.name)]
        (root / kind.name).mkdir(parents=True)
        for path in files[:: max(1, len(files) // EACH.get(kind.name, 60))]:
            os.link(path, root / kind.name / path.name)
    odd = root / "odd"
    odd.mkdir()
    for name in NAMES:
        shutil.copy(root / "calls" / os.listdir(root / "calls")[0], os.fsencode(odd) + b"/" + name)
    os.mkfifo(odd / "pipe.pt")
    os.symlink("loop.pt", odd / "loop.pt")
    os.symlink("/dev/zero", odd / "zero.pt")
    (odd / "directory.pt").mkdir()
    deep = root
    for _ in range(100):
        deep = deep / "d"
        deep.mkdir()
    shutil.copy(odd / "-rf.pt", deep / "a.pt")
    # What is quiet for a while counts as written to its end.
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


@pytest.fixture
def daemon(root: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ckptd", "run", "--watch", str(root)], stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        until(lambda: (daemon_note() or {}).get("pid") == process.pid)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_root_full_of_hostile_files_harms_nothing(
    root: Path, daemon: subprocess.Popen[bytes], record_property: Callable[[str, object], None]
) -> None:
    answers = []
    with Client.connect(autostart=False) as client:

        def ready() -> bool:
            start = time.monotonic()
            said = client.get("/v1/status")["daemon"]
            answers.append(time.monotonic() - start)
            return bool(said["ready"])

        until(ready)
        rows = {
            path_from_fields(checkpoint): checkpoint
            for run in client.get("/v1/runs")["runs"]
            for checkpoint in client.get("/v1/run", run=run["id"])["checkpoints"]
        }
        assert client.get("/v1/status")["daemon"]["errors"] == 0
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    inodes = {path.stat().st_ino for path in files}
    record_property("inputs", len(files))
    assert {str(path) for path in files} - set(rows) == set()
    assert len(rows) == len(inodes) > 200
    for row in rows.values():
        assert row["state"] in ("complete", "incomplete", "corrupt")
        assert row["state"] == "complete" or row["problems"], row
    assert not list(root.rglob("touched")) and max(answers) < 10
    assert peak_mb(daemon.pid) <= RSS_MB
    said = {}
    for command in (["ls"], ["ls", str(root / "odd")], ["ls", str(root / "tricks")], ["ls", "--json"], ["status"]):
        done = subprocess.run(
            [sys.executable, "-c", "from ckpt_tui.cli import main; main()", *command], capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        said[tuple(command)] = done.stdout + done.stderr
        assert not set(done.stdout + done.stderr) & ({*range(0x20), 0x7F} - {0x0A}), command
        (done.stdout + done.stderr).decode("utf-8")
    assert json.loads(said["ls", "--json"])["runs"]
    assert b"escape-" in said["ls", str(root / "odd")]
