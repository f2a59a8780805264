"""One start of a training: what is left of it, what it printed, and how long it may take."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ckpt import files
from ckpt.runs.redirecting import VARIABLE
from ckpt.selftest.commands import Command
from ckpt.selftest.plan import Plan
from ckpt.selftest.starting import Ended, start

PLAN = Plan(recording="/nowhere")


def python(text: str, cwd: Path) -> Command:
    return Command(argv=(sys.executable, "-c", text), cwd=str(cwd))


def test_how_it_ended_and_its_last_lines(tmp_path: Path) -> None:
    text = "for n in range(100): print(n)\nraise SystemExit(3)"
    ended = start(python(text, tmp_path), PLAN, tmp_path, 60)
    assert ended.code == 3 and ended.tail.splitlines() == [str(n) for n in range(80, 100)]


def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    ended = start(python("print('x' * 10_000)\nprint('last')", tmp_path), PLAN, tmp_path, 60)
    assert ended.tail == "x" * 300 + " …\nlast"


def test_it_finds_its_plan_and_a_place_for_temporary_files(tmp_path: Path) -> None:
    text = (
        "import os, tempfile\n"
        "from ckpt.selftest.plan import read_plan\n"
        f"print(read_plan().recording, os.environ[{VARIABLE!r}], tempfile.gettempdir(), os.environ['CKPTD_AUTOSTART'])"
    )
    ended = start(python(text, tmp_path), PLAN, tmp_path, 60)
    assert ended.tail.split() == ["/nowhere", str(tmp_path / "plan.json"), str(tmp_path / "t"), "0"]


def test_one_whose_time_is_up_is_ended_with_its_children(tmp_path: Path) -> None:
    # The child is there before the time begins to count: it is the one that is waited for.
    text = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "open('pids.new', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "os.rename('pids.new', 'pids')\n"
        "time.sleep(600)\n"
    )
    timeout_s = 1.0
    while not (tmp_path / "pids").exists():
        assert timeout_s < 120
        ended = start(python(text, tmp_path), PLAN, tmp_path, timeout_s)
        timeout_s *= 2
    assert ended == Ended(code=None, tail="")
    assert not any(files.pid_alive(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_child_that_outlives_its_training_is_ended(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys\n"
        "print(subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=subprocess.DEVNULL).pid)"
    )
    ended = start(python(text, tmp_path), PLAN, tmp_path, 60)
    assert ended.code == 0 and not files.pid_alive(int(ended.tail))


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="semaphores are files on Linux only")
def test_semaphores_of_a_killed_training_are_removed(tmp_path: Path) -> None:
    text = (
        "import multiprocessing as m, os, signal\n"
        "context = m.get_context('spawn')\n"
        "lock = context.Lock()\n"
        "print(lock._semlock.name, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = start(python(text, tmp_path), PLAN, tmp_path, 60)
    assert ended.code == -9
    assert not Path("/dev/shm", f"sem.{ended.tail.removeprefix('/')}").exists()
