"""What the system does to a watcher: dropped events, refused watches, no descriptors, no rights, vanished mounts.

Each fault is real and happens to a watcher in a process of its own; files made after it must be seen too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

CHILD = r"""
import json, os, resource, sys
from pathlib import Path
from ckpt.scan import Excludes
from ckptd.watching.watcher import Dirt, Watcher

dirt = Dirt(lambda: None)
watcher = Watcher(dirt, Path(sys.argv[1]) / "beat")
root = str(Path(sys.argv[1]) / "runs")

def limit(value):
    Path("/proc/sys/user/max_inotify_watches").write_text(str(value))

def descriptors(spare):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = hard if spare is None else max(map(int, os.listdir("/proc/self/fd"))) + spare
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

def take():
    directories, everything = dirt.take()
    return {"directories": directories, "everything": everything}

acts = {
    "limit": limit,
    "descriptors": descriptors,
    "take": take,
    "start": watcher.start,
    "watch": lambda: sorted(watcher.watch({root: Excludes(root).passes_over})),
    "fill": watcher.fill,
    "poll": watcher.poll,
    "beat": lambda: watcher.beat(5.0),
    "facts": lambda: {
        "state": watcher.state, "overflows": watcher.overflows, "watches": watcher.watches, "blind": watcher.blind,
    },
}
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(acts[name](*arguments)), flush=True)
watcher.close()
"""


class Child:
    """A process that does what it is told with a watcher of `base/runs`."""

    def __init__(self, base: Path, *wrapped: str) -> None:
        self.root = base / "runs"
        self.seen: dict[str, bool] = {}
        self.everything = False
        self.process = subprocess.Popen(
            [*wrapped, sys.executable, "-c", CHILD, str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, act: str, *arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([act, *arguments]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the process ended while doing {act}"
        return json.loads(answer)

    def knows(self, path: Path) -> bool:
        """Whether a look at what is dirty so far sees a directory."""
        taken = self.do("take")
        for directory, structural in taken["directories"].items():
            self.seen[directory] = self.seen.get(directory, False) or structural
        self.everything = self.everything or taken["everything"]
        below = any(structural and str(path).startswith(d + "/") for d, structural in self.seen.items())
        return self.everything or str(path) in self.seen or below

    def forget(self) -> None:
        """Forgets what is dirty, after what is under way has come."""
        self.do("beat")
        self.do("take")
        self.seen, self.everything = {}, False

    def hears(self, *directories: Path, poll: bool = False) -> None:
        """A new file in each directory is told."""
        for number, directory in enumerate(directories):
            (directory / f"later-{time.monotonic_ns()}-{number}.pt").write_bytes(b"x")
        for directory in directories:
            until(lambda directory=directory: self._heard(directory, poll), f"{directory} is dirty")  # type: ignore[misc]

    def _heard(self, directory: Path, poll: bool) -> bool:
        if poll and not self.knows(directory):
            self.do("poll")
        return self.knows(directory)

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            assert self.process.wait(10) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def until(check: Callable[[], Any], what: str, seconds: float = 12.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not true: {what}"
        time.sleep(0.02)


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that other users can reach, with an empty root in it."""
    base = Path(tempfile.mkdtemp(prefix="ck-watch-"))
    base.chmod(0o777)
    (base / "runs").mkdir(mode=0o755)
    yield base
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def start(base: Path) -> Iterator[Callable[..., Child]]:
    started: list[Child] = []

    def begin(*wrapped: str) -> Child:
        started.append(Child(base, *wrapped))
        return started[-1]

    yield begin
    for child in started:
        child.end()


def test_what_overflowed_while_the_watcher_stood_still_is_looked_at_and_watched(start: Callable[..., Child]) -> None:
    child = start()
    (child.root / "before").mkdir()
    child.do("start")
    child.do("watch")
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    child.process.send_signal(signal.SIGSTOP)
    for number in range(limit // 3 + 1000):
        path = child.root / f"{number % 100}.txt"
        path.touch()
        path.unlink()
    new = [child.root / f"new{number}" / "below" for number in range(200)]
    for directory in new:
        directory.mkdir(parents=True)
    child.process.send_signal(signal.SIGCONT)
    until(lambda: child.do("facts")["overflows"] == 1, "the overflow is counted")
    until(lambda: child.knows(new[0]) and child.everything, "everything is dirty")
    child.do("fill")
    assert child.do("facts")["watches"] == 1 + 1 + 1 + 2 * len(new)
    child.forget()
    child.hears(child.root / "before", *new[::20])
    facts = child.do("facts")
    assert facts["state"] == "watching"
    assert facts["overflows"] == 1, "the recovery overflowed the queue again"


def test_beyond_the_limit_of_watches_directories_are_polled_and_heal(start: Callable[..., Child]) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-U", "-r", "true"], check=False).returncode:
        pytest.skip("this system gives no user namespaces, and only one has a limit of its own")
    child = start("unshare", "-U", "-r")
    child.do("start")
    child.do("watch")
    child.do("limit", 100)
    for number in range(150):
        (child.root / "one" / str(number)).mkdir(parents=True)
    (child.root / "node_modules" / "x").mkdir(parents=True)
    until(lambda: child.do("facts")["watches"] == 100, "the limit is reached")
    for number in range(150):
        (child.root / "two" / str(number)).mkdir(parents=True)
    places = [child.root / name / str(number) for name in ("one", "two") for number in range(150)]
    until(lambda: child.knows(child.root / "two") and child.knows(child.root / "one"), "the new directories are dirty")

    def all_known() -> bool:
        child.do("poll")
        facts: dict[str, Any] = child.do("facts")
        return bool(len(facts["blind"]) + facts["watches"] == len(places) + 4)

    until(all_known, "each directory is watched or counted as blind")
    blind = child.do("facts")["blind"]
    assert set(blind.values()) == {"the limit of inotify watches is reached"}
    assert not [path for path in blind if "node_modules" in path]
    child.forget()
    child.hears(*places[::10], poll=True)
    (places[-1] / "deeper").mkdir()
    child.hears(places[-1] / "deeper", poll=True)
    child.do("limit", 10_000)
    child.do("poll")
    assert child.do("facts")["blind"] == {}
    assert child.do("facts")["watches"] == len(places) + 5
    child.forget()
    child.hears(*places[::10], places[-1] / "deeper")


def test_blind_directories_that_vanish_are_forgotten(start: Callable[..., Child]) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-U", "-r", "true"], check=False).returncode:
        pytest.skip("this system gives no user namespaces, and only one has a limit of its own")
    child = start("unshare", "-U", "-r")
    for number in range(20):
        (child.root / "run" / str(number)).mkdir(parents=True)
    child.do("limit", 5)
    child.do("start")
    child.do("watch")
    assert child.do("facts")["watches"] == 5
    assert len(child.do("facts")["blind"]) == 18
    shutil.rmtree(child.root / "run")
    child.do("poll")
    assert child.do("facts")["blind"] == {}
    assert child.knows(child.root / "run")


def test_without_descriptors_everything_is_polled_until_there_are_some(start: Callable[..., Child]) -> None:
    child = start()
    (child.root / "run").mkdir()
    child.do("descriptors", 1)
    child.do("start")
    assert child.do("watch") == []
    for _ in range(20):
        child.do("poll")
    assert child.do("facts") == {"state": "polling", "overflows": 0, "watches": 0, "blind": {}}
    child.hears(child.root / "run", poll=True)
    child.do("descriptors", None)
    child.do("watch")
    assert child.do("facts")["state"] == "watching"
    assert child.do("beat") is True
    child.forget()
    child.hears(child.root, child.root / "run")


def test_a_new_directory_that_cannot_be_listed_for_lack_of_descriptors_is_listed_later(
    start: Callable[..., Child], base: Path
) -> None:
    child = start()
    child.do("start")
    child.do("watch")
    child.do("descriptors", 0)
    (base / "outside" / "a" / "b").mkdir(parents=True)
    (base / "outside").rename(child.root / "in")
    until(lambda: child.do("facts")["blind"], "the directory is blind")
    assert child.do("facts")["blind"] == {str(child.root / "in"): "too many open files in this process"}
    child.do("descriptors", None)
    child.do("poll")
    assert child.do("facts")["blind"] == {}
    assert child.knows(child.root / "in" / "a" / "b")
    child.forget()
    child.hears(child.root / "in" / "a" / "b")


def test_what_may_not_be_read_is_blind_until_it_may(start: Callable[..., Child]) -> None:
    wrapped: tuple[str, ...] = ()
    if os.getuid() == 0:
        wrapped = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
        allowed = (
            shutil.which("setpriv")
            and not subprocess.run(
                [*wrapped, sys.executable, "-c", "import ckptd.watching.watcher"], check=False, capture_output=True
            ).returncode
        )
        if not allowed:
            pytest.skip("another user may not run this interpreter, and root may read everything")
    child = start(*wrapped)
    (child.root / "open").mkdir()
    closed = [child.root / "closed", child.root / "other"]
    for directory in closed:
        (directory / "below").mkdir(parents=True)
        directory.chmod(0o000)
    try:
        child.do("start")
        child.do("watch")
        assert child.do("facts")["blind"] == {str(directory): "Permission denied" for directory in closed}
        child.do("poll")
        child.hears(child.root / "open")
        closed[0].chmod(0o755)
        child.do("poll")
        assert list(child.do("facts")["blind"]) == [str(closed[1])]
        assert child.knows(closed[0] / "below")
        child.forget()
        child.hears(closed[0] / "below")
    finally:
        for directory in closed:
            directory.chmod(0o755)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_root_that_is_unmounted_and_mounted_again_is_watched(start: Callable[..., Child], base: Path) -> None:
    child = start()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(child.root)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        (child.root / "run").mkdir()
        child.do("start")
        child.do("watch")
        child.forget()
        subprocess.run(["umount", str(child.root)], check=True)
        until(lambda: child.knows(child.root), "the loss of the mount is told")
        child.do("poll")
        subprocess.run(mount, check=True)
        (child.root / "run").mkdir()
        child.do("poll")
        child.forget()
        child.hears(child.root, child.root / "run")
    finally:
        subprocess.run(["umount", str(child.root)], check=False)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_mounted_inside_a_root_is_watched(start: Callable[..., Child]) -> None:
    child = start()
    disk = child.root / "disk"
    (disk / "hidden").mkdir(parents=True)
    child.do("start")
    child.do("watch")
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        (disk / "run").mkdir()
        child.do("poll")
        assert child.knows(disk / "run")
        child.forget()
        child.hears(disk, disk / "run")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    until(lambda: child.do("facts")["watches"] == 4, "what the disk hid is watched again")
    child.forget()
    child.hears(disk / "hidden")
