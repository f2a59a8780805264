"""The trash of other trainers' directories under SIGKILL at every changing system call, and under calls that fail.

Each point is a child process under strace that is killed, or refused one call, at that point; afterwards every item is
looked for: in exactly one place, with every name, byte, link and time that it had. Above 2 rounds every point is tried.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ckpt
from ckpt.exceptions import CkptError
from ckpt.trash import Place, Trash, placing
from ckpt.trash.journal import Journal

STRACE = shutil.which("strace")
ALL = int(os.environ.get("CKPTD_FAULT_ROUNDS") or 2) > 2
SOME = 4  # points of an act that are tried otherwise
CHANGING = (
    *("mkdir", "mkdirat", "write", "ftruncate", "fsync", "rename", "renameat", "renameat2"),
    *("link", "linkat", "unlink", "unlinkat", "rmdir", "chmod", "fchmodat"),
)
FAILING = {
    "openat": ("EIO", "EACCES", "EMFILE", "ENOSPC"),
    "mkdir": ("EIO", "ENOSPC", "EPERM", "EROFS"),
    "mkdirat": ("EIO", "ENOSPC", "EPERM", "EROFS"),
    "rename": ("EIO", "ENOSPC", "EPERM", "EXDEV"),
    "renameat2": ("EIO", "ENOSPC", "EPERM", "EXDEV", "EBUSY"),
    "fsync": ("EIO", "ENOSPC"),
    "write": ("EIO", "ENOSPC"),
    "unlinkat": ("EIO", "EPERM"),
    "unlink": ("EIO", "EPERM"),
    "rmdir": ("EIO", "EBUSY"),
    "newfstatat": ("EIO", "ESTALE"),
    "getdents64": ("EIO",),
}
BEGIN = "chdir"  # what the child calls right before its act

CHILD = """
import os, sys, traceback
def told(*error):
    # Where every write fails from some moment on, another call tells what came of it.
    os.writev(2, [b"\\n", "".join(traceback.format_exception(*error)).encode()])
    os._exit(1)
sys.excepthook = told
sys.path[:0] = sys.argv[4].split(":")
from pathlib import Path
from ckpt.trash import Owner, Trash, placing
root, act, beside = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "beside"
place = placing.possible(root)[beside]
names = ["a/checkpoint-5", "a/state-5.pt", "b/c/checkpoint-5"]
trash = place.open()
entry = None if act in ("first", "remove", "recover") else trash.entries()[0].id
os.chdir("/")
if act == "first":
    placing.make(place)
    Owner(place.owner).claim("a" * 16, 1.0)
if act in ("first", "remove"):
    trash.remove([root / name for name in names], run="r", checkpoint={}, plan="p", reasons=[], keep_for_s=60.0)
elif act == "recover":
    trash.recover()
else:
    getattr(trash, act)(entry)
"""
ITEMS = ("a/checkpoint-5", "a/state-5.pt", "b/c/checkpoint-5")
LAST = {"home": {"undone", "restored"}, "trash": {"removed", "kept"}, "gone": {"purged"}}
Picture = dict[str, tuple[Any, ...]]
Point = tuple[str, int]


def works() -> bool:
    if STRACE is None:
        return False
    probe = [STRACE, "-f", "-qq", "-o", os.devnull, "-e", "inject=rename:error=EIO:when=1", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not works(), reason="strace is not there, or may not trace here")


def picture(root: Path, top: Path) -> Picture:
    """Every file, directory and link of the items as they lie below `top`."""
    found: Picture = {}
    for item in ITEMS:
        start = top / item
        for path in [start, *sorted(start.rglob("*"))] if os.path.lexists(start) else []:
            info = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            facts = (info.st_ino, info.st_mode, info.st_nlink, info.st_mtime_ns)
            found[str(path.relative_to(top))] = (*facts, content)
    return found


@dataclass
class Bench:
    """Roots with one checkpoint of three items each, and acts on it in child processes under strace."""

    base: Path
    beside: str

    def place(self, root: Path) -> Place:
        return placing.possible(root)[self.beside == "beside"]

    def prepare(self, name: str, act: str) -> tuple[Path, Picture]:
        """A root that is ready for an act, and what its checkpoint looks like."""
        root = self.base / name / "root"
        for item in ("a/checkpoint-5", "b/c/checkpoint-5"):
            (root / item / "inner").mkdir(parents=True)
            (root / item / "model.safetensors").write_bytes(item.encode() * 300)
            os.link(root / item / "model.safetensors", root / item / "inner" / "same")
            (root / item / "inner" / "link").symlink_to("../model.safetensors")
        (root / "a" / "state-5.pt").write_bytes(b"state" * 100)
        before = picture(root, root)
        if act != "first":
            placing.make(self.place(root))
        if act in ("restore", "purge", "recover"):
            entry = self.trash(root).remove(
                [root / item for item in ITEMS], run="r", checkpoint={}, plan="p", reasons=[], keep_for_s=60.0
            )
            if act == "recover":  # a purge that was killed half way
                trash = self.trash(root)
                trash._journal.begin("purge", entry.id)
                trash._moves.mark_purging(entry.id)
                (trash.directory / f"{entry.id}.purging" / "a" / "state-5.pt").unlink()
        return root, before

    def trash(self, root: Path) -> Trash:
        return self.place(root).open()

    def act(self, root: Path, act: str, *options: str) -> subprocess.CompletedProcess[str]:
        assert STRACE is not None
        places = f"{Path(ckpt.__file__).parent.parent}:{sysconfig.get_path('platlib')}"
        child = [sys.executable, "-I", "-S", "-B", "-c", CHILD, str(root), act, self.beside, places]
        return subprocess.run(
            [STRACE, "-f", "-qq", *options, *child], capture_output=True, text=True, check=False, timeout=120
        )

    def points(self, act: str, calls: Sequence[str]) -> list[Point]:
        """Every such call that the act makes, as its name and its number among those of the whole process."""
        root, _ = self.prepare(f"count-{act}-{len(calls)}", act)
        log = root.parent / "log"
        done = self.act(root, act, "-e", f"trace={','.join((*calls, BEGIN))}", "-o", str(log))
        assert done.returncode == 0, done.stderr
        found: dict[str, int] = {}
        points: list[Point] = []
        for name in re.findall(r"^\d+ +(\w+)\(", log.read_text(), flags=re.MULTILINE):
            found[name] = found.get(name, 0) + 1
            if BEGIN in found and name != BEGIN:
                points.append((name, found[name]))
        return points

    def settled(self, root: Path, before: Picture, *, untold: bool = False) -> str:
        """Where the checkpoint is after a restart; fails unless it is whole, in one place, and what is told fits.

        `untold` says that a purge could not be told: it makes room where the disk has none for the line.
        """
        trash = self.trash(root)
        journal = Journal(trash.directory)
        is_there = trash.directory.exists()
        if is_there:
            placing.make(self.place(root))
        open_acts = journal.open_acts() if is_there else {}
        said = trash.recover()
        assert said or not set(open_acts.values()) & {"remove", "restore"}, "a recovery says what it did"
        assert not any("cannot" in line for line in said), said
        assert trash.recover() == [], "a recovery leaves nothing to recover"
        entries = trash.entries()
        directories = [path.name for path in trash.directory.iterdir() if path.is_dir()] if is_there else []
        assert directories == [entry.id for entry in entries]
        at_home = picture(root, root)
        if entries:
            assert at_home == {}
            assert picture(root, trash.directory / entries[0].id) == before
            where = "trash"
        else:
            assert at_home in (before, {})
            where = "home" if at_home else "gone"
        lines = [line["op"] for line in journal._lines()] if is_there else []
        fits = LAST[where] | {"removed"} if untold and where == "gone" else LAST[where]
        assert (not lines and where == "home") or lines[-1] in fits, (where, lines)
        assert journal.open_acts() == {} if is_there else True
        if entries:
            trash.restore(entries[0].id)
            assert picture(root, root) == before
        return where


def chosen(points: list[Any], chance: random.Random, most: int) -> list[Any]:
    return points if ALL or len(points) <= most else chance.sample(points, most)


@pytest.fixture(params=["inside", "beside"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(tmp_path, request.param)


ALLOWED = {
    "first": {"home", "trash"},
    "remove": {"home", "trash"},
    "restore": {"home", "trash"},
    "purge": {"trash", "gone"},
    "recover": {"gone"},
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("act", ALLOWED)
def test_a_kill_at_any_call_leaves_all_items_whole_in_one_place(
    bench: Bench, act: str, chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    points = bench.points(act, CHANGING)
    assert len(points) >= 10, points
    tried = chosen(points, chance, SOME)

    def killed(point: Point) -> str:
        call, number = point
        root, before = bench.prepare(f"{act}-{call}-{number}", act)
        done = bench.act(root, act, "-o", os.devnull, "-e", f"inject={call}:signal=KILL:when={number}")
        assert done.returncode in (-9, 137), (point, done.returncode, done.stderr)
        where = bench.settled(root, before)
        shutil.rmtree(root.parent)
        return where

    with ThreadPoolExecutor(2) as pool:
        places = dict(zip(tried, pool.map(killed, tried), strict=True))
    assert set(places.values()) <= ALLOWED[act], places
    assert not ALL or set(places.values()) == ALLOWED[act], places
    with capsys.disabled():
        if ALL:
            print(f"\n{act} {bench.beside}: killed at {len(places)} points, 0 lost")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("act", ["first", "remove", "restore", "purge"])
@pytest.mark.parametrize("lasting", ["", "+"], ids=["once", "from then on"])
def test_a_call_that_fails_is_told_and_nothing_is_lost(
    bench: Bench, act: str, lasting: str, chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [(*point, error) for point in bench.points(act, tuple(FAILING)) for error in FAILING[point[0]]]
    tried = chosen(faults, chance, SOME)

    def failed(fault: tuple[str, int, str]) -> tuple[int, str]:
        call, number, error = fault
        root, before = bench.prepare(f"{act}-{call}-{number}-{error}", act)
        what = f"inject={call}:error={error}:when={number}{lasting}"
        done = bench.act(root, act, "-o", os.devnull, "-e", what)
        try:
            assert done.returncode == 0 or "\nckpt.exceptions." in done.stderr, done.stderr
            where = bench.settled(root, before, untold=(act, call, error, lasting) == ("purge", "write", "ENOSPC", "+"))
        except (AssertionError, CkptError, OSError) as error:
            return done.returncode, f"{type(error).__name__}: {error}"
        shutil.rmtree(root.parent)
        return done.returncode, where

    with ThreadPoolExecutor(2) as pool:
        outcomes = dict(zip(tried, pool.map(failed, tried), strict=True))
    wanted = {"first": "trash", "remove": "trash", "restore": "home", "purge": "gone"}[act]
    wrong = {
        fault: (code, where)
        for fault, (code, where) in outcomes.items()
        if where not in ALLOWED[act] or (code == 0 and where != wanted)
    }
    assert not wrong, "\n".join(f"{fault}: exit code {code}, {where}" for fault, (code, where) in wrong.items())
    with capsys.disabled():
        if ALL:
            refused = sum(code for code, _ in outcomes.values())
            print(f"\n{act} {bench.beside} {lasting or 'once'}: {len(outcomes)} faults, {refused} told, 0 lost")
