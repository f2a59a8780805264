"""The trash under SIGKILL at every system call that changes the disk, and under calls that fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import ckpt
from ckpt.trash import Trash

STRACE = shutil.which("strace")
CHANGING = (
    "mkdir",
    "mkdirat",
    "write",
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "unlink",
    "unlinkat",
    "rmdir",
)
CONTENT = {"checkpoints/step-000100.pt": b"weights" * 1000, "checkpoints/step-000100.json": b'{"step": 100}'}
CHILD = """
import sys
sys.path[:0] = sys.argv[3].split(":")
from pathlib import Path
from ckpt.trash import Trash
run, act = Path(sys.argv[1]), sys.argv[2]
trash = Trash(run / ".trash")
names = ["checkpoints/step-000100.pt", "checkpoints/step-000100.json"]
if act == "remove":
    trash.remove([run / name for name in names], run="r", checkpoint={}, plan="p", reasons=[], keep_for_s=60.0)
elif act == "recover":
    trash.recover()
else:
    getattr(trash, act)(trash.entries()[0].id)
"""


def works() -> bool:
    if STRACE is None:
        return False
    probe = [STRACE, "-f", "-qq", "-o", os.devnull, "-e", "inject=rename:error=EIO:when=1", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not works(), reason="strace is not there, or may not trace here")


@dataclass
class Bench:
    """Runs of one checkpoint each, prepared for an act, and the act in a child process under strace."""

    base: Path

    def prepare(self, name: str, act: str) -> Path:
        run = self.base / name
        (run / "checkpoints").mkdir(parents=True)
        for path, content in CONTENT.items():
            (run / path).write_bytes(content)
        if act in ("restore", "purge"):
            remove(run)
        return run

    def act(self, run: Path, act: str, *options: str) -> subprocess.CompletedProcess[str]:
        assert STRACE is not None
        places = f"{Path(ckpt.__file__).parent.parent}:{sysconfig.get_path('platlib')}"
        command = [STRACE, "-f", "-qq", *options, sys.executable, "-I", "-S", "-B", "-c", CHILD, str(run), act, places]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def calls(self, act: str) -> list[tuple[str, int]]:
        """Every changing call that the act makes, as name and number of its kind."""
        run = self.prepare(f"count-{act}", act)
        log = self.base / f"{act}.log"
        done = self.act(run, act, "-e", f"trace={','.join(CHANGING)}", "-o", str(log))
        assert done.returncode == 0, done.stderr
        found: dict[str, int] = {}
        for name in re.findall(r"^\d+ +(\w+)\(", log.read_text(), flags=re.MULTILINE):
            found[name] = found.get(name, 0) + 1
        return [(name, number) for name, count in found.items() for number in range(1, count + 1)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)


def remove(run: Path) -> str:
    entry = Trash(run / ".trash").remove(
        [run / name for name in CONTENT], run="r", checkpoint={}, plan="p", reasons=[], keep_for_s=60.0
    )
    return entry.id


def home(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in CONTENT if (run / name).exists()}


def settled(run: Path) -> str:
    """Where the checkpoint is after recovery; fails unless it is whole and in one place, and the place is tidy."""
    trash = Trash(run / ".trash")
    trash.recover()
    assert trash.recover() == [], "a recovery leaves nothing to recover"
    entries = trash.entries()
    directories = list((run / ".trash").glob("*/")) if (run / ".trash").exists() else []
    assert len(entries) == len(directories), [path.name for path in directories]
    if not entries:
        at_home = home(run)
        assert at_home in (CONTENT, {})
        return "home" if at_home else "gone"
    (entry,) = entries
    assert home(run) == {}
    shelf = run / ".trash" / entry.id
    assert {name: (shelf / name).read_bytes() for name in CONTENT} == CONTENT
    trash.restore(entry.id)
    assert home(run) == CONTENT
    return "trash"


ALLOWED = {"remove": {"home", "trash"}, "restore": {"home", "trash"}, "purge": {"trash", "gone"}}


@pytest.mark.parametrize("act", ALLOWED)
def test_a_kill_at_any_call_leaves_the_checkpoint_whole_in_one_place(bench: Bench, act: str) -> None:
    points = bench.calls(act)
    assert len(points) >= 8, points

    def killed(point: tuple[str, int]) -> tuple[str, str]:
        call, number = point
        run = bench.prepare(f"{act}-{call}-{number}", act)
        done = bench.act(run, act, "-o", os.devnull, "-e", f"inject={call}:signal=KILL:when={number}")
        assert done.returncode == -9 or done.returncode == 137, (point, done.returncode, done.stderr)
        return f"{call} {number}", settled(run)

    with ThreadPoolExecutor(2) as pool:
        places = dict(pool.map(killed, points))
    assert set(places.values()) == ALLOWED[act], places


def test_a_recovery_that_is_killed_can_be_repeated(bench: Bench) -> None:
    """Killed between the two files of a removal, then again at each call of the recovery."""

    def half_removed(name: str) -> Path:
        run = bench.prepare(name, "remove")
        bench.act(run, "remove", "-o", os.devnull, "-e", "inject=renameat2:signal=KILL:when=2")
        assert set(home(run)) == {"checkpoints/step-000100.pt"}, "the marker goes first"
        return run

    log = bench.base / "recover.log"
    done = bench.act(half_removed("count"), "recover", "-e", f"trace={','.join(CHANGING)}", "-o", str(log))
    assert done.returncode == 0, done.stderr
    calls = re.findall(r"^\d+ +(\w+)\(", log.read_text(), flags=re.MULTILINE)
    points = [(name, calls[: place + 1].count(name)) for place, name in enumerate(calls)]
    assert points

    def killed(point: tuple[str, int]) -> str:
        run = half_removed(f"again-{point[0]}-{point[1]}")
        bench.act(run, "recover", "-o", os.devnull, "-e", f"inject={point[0]}:signal=KILL:when={point[1]}")
        return settled(run)

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(killed, points)) == {"trash"}


@pytest.mark.parametrize(
    ("act", "fault", "place"),
    [
        ("remove", "renameat2:error=EXDEV:when=1", "home"),
        ("remove", "renameat2:error=EXDEV:when=2", "home"),
        ("remove", "renameat2:error=EPERM:when=2", "home"),
        ("remove", "write:error=ENOSPC:when=2..3", "home"),
        ("remove", "write:error=EIO:when=2", "home"),
        ("remove", "fsync:error=EIO:when=3+", "home"),
        ("remove", "mkdirat:error=ENOSPC:when=2+", "home"),
        ("restore", "renameat2:error=EIO:when=2", "trash"),
        ("restore", "write:error=EIO:when=1", "trash"),
        ("purge", "renameat2:error=EBUSY:when=1", "trash"),
    ],
)
def test_a_call_that_fails_is_told_and_taken_back(bench: Bench, act: str, fault: str, place: str) -> None:
    run = bench.prepare("run", act)
    done = bench.act(run, act, "-o", os.devnull, "-e", f"inject={fault}")
    assert done.returncode == 1
    assert "OperationError" in done.stderr, done.stderr
    if place == "home":
        assert home(run) == CONTENT
    assert settled(run) == place


@pytest.mark.parametrize("error", ["ENOSYS", "EINVAL"])
def test_a_system_without_the_exclusive_rename_moves_all_the_same(bench: Bench, error: str) -> None:
    run = bench.prepare("run", "remove")
    done = bench.act(run, "remove", "-o", os.devnull, "-e", f"inject=renameat2:error={error}")
    assert done.returncode == 0, done.stderr
    assert settled(run) == "trash"
