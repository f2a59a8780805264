"""Whether others have a file open: leases and the open files of processes, with real processes."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckpt import in_use
from ckpt.exceptions import OperationError
from ckpt.in_use import all_open_elsewhere, open_elsewhere

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="leases are known on Linux only")

Holder = Callable[[Path, str], "subprocess.Popen[str]"]
HOLD = """
import mmap, os, sys
file, how = sys.argv[1:]
if how == "lease":
    import fcntl, signal
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    held = open(file, "rb")
    fcntl.fcntl(held.fileno(), fcntl.F_SETLEASE, fcntl.F_WRLCK)
elif how in ("r", "w"):
    held = os.open(file, os.O_RDONLY if how == "r" else os.O_WRONLY)
else:
    fd = os.open(file, os.O_RDWR if how == "mapped for writing" else os.O_RDONLY)
    held = mmap.mmap(fd, 0, prot=mmap.PROT_READ | (mmap.PROT_WRITE if how == "mapped for writing" else 0))
    os.close(fd)
print("ready", flush=True)
sys.stdin.read()
"""
WAYS = ("r", "w", "mapped", "mapped for writing")


@pytest.fixture
def hold() -> Iterator[Holder]:
    """Another process that has a file open, until the test ends or its input is closed."""
    made: list[subprocess.Popen[str]] = []

    def start(file: Path, how: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", HOLD, str(file), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        made.append(child)
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        return child

    yield start
    for child in made:
        child.communicate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "step.pt"
    path.write_bytes(b"weights" * 1000)
    return path


def without_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: str) -> tuple[tuple[int, int], bool]:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(in_use, "_lease", refused)


@pytest.mark.parametrize("how", WAYS)
def test_who_has_a_file_open_is_told(file: Path, hold: Holder, how: str) -> None:
    assert open_elsewhere(file) is None
    child = hold(file, how)
    assert open_elsewhere(file) == f"{Path(f'/proc/{child.pid}/comm').read_text().strip()} (pid {child.pid})"
    child.communicate()
    assert open_elsewhere(file) is None


@pytest.mark.parametrize("how", WAYS)
def test_without_leases_the_open_files_of_processes_tell(
    file: Path, hold: Holder, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_leases(monkeypatch)
    child = hold(file, how)
    assert f"(pid {child.pid})" in str(open_elsewhere(file))


def test_without_leases_own_files_that_nobody_of_us_has_open_are_free(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_leases(monkeypatch)
    monkeypatch.setattr(in_use, "_holders", lambda asked: in_use._Holders())
    assert open_elsewhere(file) is None
    monkeypatch.setattr(in_use, "_holders", lambda asked: in_use._Holders(saw_all=False))
    with pytest.raises(OperationError, match="cannot be told: Invalid argument"):
        open_elsewhere(file)


def test_a_file_that_another_leases_is_in_use(file: Path, hold: Holder) -> None:
    child = hold(file, "lease")
    assert f"(pid {child.pid})" in str(open_elsewhere(file))


def test_any_file_of_a_directory_counts_and_links_are_not_followed(tmp_path: Path, hold: Holder) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    deep = tmp_path / "checkpoint-100" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "model.safetensors").write_bytes(b"y")
    (deep / "link").symlink_to(outside)
    os.mkfifo(deep / "pipe")
    hold(outside, "r")
    assert open_elsewhere(tmp_path / "checkpoint-100") is None
    assert open_elsewhere(deep / "link") is None
    child = hold(deep / "model.safetensors", "r")
    assert f"(pid {child.pid})" in str(open_elsewhere(tmp_path / "checkpoint-100"))


def test_several_holders_are_named_and_counted(file: Path, hold: Holder) -> None:
    pids = [hold(file, "r").pid for _ in range(5)]
    said = str(open_elsewhere(file))
    assert sum(f"(pid {pid})" in said for pid in pids) == 3 and said.endswith(" and 2 more")


def test_what_is_gone_is_free(tmp_path: Path) -> None:
    assert open_elsewhere(tmp_path / "gone") is None
    (tmp_path / "empty").mkdir()
    assert open_elsewhere(tmp_path / "empty") is None


def test_own_descriptors_do_not_count(file: Path, hold: Holder) -> None:
    with open(file, "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ):
        assert open_elsewhere(file) is None
        child = hold(file, "r")
        assert f"(pid {child.pid})" in str(open_elsewhere(file)), "they do not hide another's either"


def test_more_files_than_are_asked_about_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / f"{number}.pt").write_bytes(b"")
    monkeypatch.setattr(in_use, "MOST_FILES", 3)
    with pytest.raises(OperationError, match="cannot be told: it has more than 3 files"):
        open_elsewhere(tmp_path)


AS_NOBODY = """
import fcntl, os, sys  # before the user changes, who may not read them here
sys.path[:0] = sys.argv[2].split(":")
from ckpt.exceptions import OperationError
from ckpt.in_use import all_open_elsewhere, open_elsewhere
os.setuid(65534)
try:
    print(open_elsewhere(sys.argv[1]))
except OperationError as error:
    print("OperationError:", error.message)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_another_users_files_cannot_be_told_but_own_ones_can(file: Path, hold: Holder) -> None:
    os.chmod(file, 0o644)
    for part in file.parents:
        if str(part).startswith(str(Path(os.environ.get("TMPDIR", "/tmp")))) and part.stat().st_uid == os.geteuid():
            os.chmod(part, part.stat().st_mode | 0o055)

    def ask() -> str:
        places = ":".join(path for path in sys.path if path)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", AS_NOBODY, str(file), places], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    said = ask()
    assert "OperationError" in said and "cannot be told" in said, "the owner alone may lease"
    os.chown(file, 65534, 65534)
    assert ask() == "None"
    hold(file, "r")
    assert ask() == "a process that cannot be seen from here"


def test_whoever_opens_the_file_meanwhile_and_whoever_asks_live_on(file: Path) -> None:
    """A lease that is broken signals its holder, by SIGIO unless asked otherwise, which would end this process."""
    asker = f"""
import os, sys
sys.path[:0] = {[path for path in sys.path if path]!r}
from ckpt.in_use import all_open_elsewhere, open_elsewhere
print("ready", flush=True)
for _ in range(3000):
    open_elsewhere(sys.argv[1])
"""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", asker, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    opened = 0
    while child.poll() is None:
        os.close(os.open(file, os.O_RDWR))
        opened += 1
    assert child.communicate()[1] == "" and child.returncode == 0
    assert opened


def test_a_lease_that_is_broken_while_it_is_held_does_not_end_its_holder(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The opener comes between the lease and its end, which the loop above meets only by chance."""
    import fcntl

    call = fcntl.fcntl
    openers: list[threading.Thread] = []

    def interrupted(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETLEASE and argument == fcntl.F_UNLCK:
            child = subprocess.Popen([shutil.which("cat") or "cat", str(file)], stdout=subprocess.DEVNULL)
            openers.append(threading.Thread(target=child.wait))
            openers[-1].start()
            for _ in range(500):  # until the opener waits for the lease
                if call(fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK:
                    break
                time.sleep(0.01)
        return call(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", interrupted)
    assert open_elsewhere(file) is None
    for opener in openers:
        opener.join()
    assert openers


def test_of_many_files_each_is_told_with_its_own_user(
    tmp_path: Path, hold: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{number}.pt" for number in range(6)]
    for file in files:
        file.write_bytes(b"weights")
    (tmp_path / "step-7").mkdir()
    inner = tmp_path / "step-7" / "rank-0.pt"
    inner.write_bytes(b"weights")
    first, second, third = hold(files[1], "r"), hold(files[4], "mapped"), hold(inner, "w")
    looks = []
    look = in_use._holders
    monkeypatch.setattr(in_use, "_holders", lambda asked: looks.append(asked) or look(asked))
    with open(files[5], "rb"):
        told = all_open_elsewhere(map(str, [*files, inner.parent, tmp_path / "gone.pt"]))
    assert {path: told[path].partition("pid ")[2].rstrip(")") for path in told} == {
        str(files[1]): str(first.pid),
        str(files[4]): str(second.pid),
        str(inner.parent): str(third.pid),
    }
    assert len(looks) == 1, "the processes are looked through once, however many files are open"
    assert all(told.get(str(file)) == open_elsewhere(file) for file in files)
    for child in (first, second, third):
        child.communicate()
    assert all_open_elsewhere(map(str, [*files, inner.parent])) == {}
    assert len(looks) == 3, "and not at all when leases say that all are free"


def test_what_cannot_be_told_of_one_file_does_not_hide_another(
    tmp_path: Path, hold: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, one = tmp_path / "many", tmp_path / "one.pt"
    many.mkdir()
    for number in range(3):
        (many / f"{number}.pt").write_bytes(b"weights")
    one.write_bytes(b"weights")
    hold(one, "r")
    monkeypatch.setattr(in_use, "MOST_FILES", 2)
    with pytest.raises(OperationError, match="more than 2 files"):
        open_elsewhere(many)
    assert list(all_open_elsewhere([str(many), str(one)])) == [str(one)]
