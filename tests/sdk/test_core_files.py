"""Acts on files: whole or not at all, one holder at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from ckpt import files
from ckpt.exceptions import LockedError
from ckpt.formats.source import Source
from ckpt.scan.live.growing import Growing


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_an_atomic_write_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.atomic_write(path, b"one")
    files.atomic_write(path, lambda stream: stream.writelines([b"t", b"wo"]))
    assert path.read_bytes() == b"two" and names(tmp_path) == ["f"]


def test_a_write_that_fails_leaves_the_old_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def broken(stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        files.atomic_write(path, broken)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["f"]


def test_a_taken_name_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.atomic_write(path, b"one", overwrite=False)
    with pytest.raises(FileExistsError):
        files.atomic_write(path, b"two", overwrite=False)
    assert path.read_bytes() == b"one" and path.stat().st_nlink == 1 and names(tmp_path) == ["f"]


def test_of_many_writers_of_one_name_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "f"
    wins: list[int] = []

    def write(number: int) -> None:
        try:
            files.atomic_write(path, str(number).encode(), overwrite=False)
        except FileExistsError:
            return
        wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1 and path.read_text() == str(wins[0])


def test_json_files_and_their_limit(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    files.write_json(path, {"a": [1, "ü\n"]})
    assert files.read_json(path) == {"a": [1, "ü\n"]}
    assert path.read_bytes().endswith(b"\n")
    with pytest.raises(ValueError, match="larger than 5 bytes"):
        files.read_json(path, limit=5)
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "none")


def test_lines_are_appended_and_torn_ones_closed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f.jsonl"
    files.append_json(path, {"n": 1})
    with open(path, "ab") as stream:
        stream.write(b'{"n": 2')
    files.append_json(path, {"n": 3})
    with open(path, "ab") as stream:
        stream.write(b"\xff\n\n[4]\n")
    assert list(files.read_json_lines(path)) == [{"n": 1}, {"n": 3}, [4]]
    assert list(files.read_json_lines(path, offset=8)) == [{"n": 3}, [4]]
    assert list(files.read_json_lines(tmp_path / "none")) == []


def test_a_line_that_did_not_fit_spoils_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with files.Appender(path) as appender:
        appender.append(b'{"n": 1}')
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 4, hard))
        try:
            with pytest.raises(OSError, match="No space left"):
                appender.append(b'{"n": 2}')
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        appender.append(b'{"n": 3}')
    assert list(files.read_json_lines(path)) == [{"n": 1}, {"n": 3}]


def test_opening_a_file_to_append_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"torn')
    files.Appender(path).close()
    assert path.read_bytes() == b'{"torn'


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    code = (
        "import sys; from pathlib import Path; from ckpt import files\n"
        "with files.Appender(Path(sys.argv[1])) as a:\n"
        '    for n in range(200): a.append(b\'{"who": %s, "n": %d}\' % (sys.argv[2].encode(), n))\n'
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), str(who)]) for who in range(3)]
    assert [child.wait(timeout=30) for child in children] == [0, 0, 0]
    lines = list(files.read_json_lines(path))
    assert len(lines) == 600
    for who in range(3):
        assert [line["n"] for line in lines if line["who"] == who] == list(range(200))


HOLD = (
    "import sys; from pathlib import Path; from ckpt.files import FileLock\n"
    "lock = FileLock(Path(sys.argv[1])); lock.acquire({'pid': 4242, 'host': 'box'})\n"
    "print('held', flush=True); sys.stdin.read()\n"
)


def test_a_lock_is_one_process_life_long(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    lock = files.FileLock(path)
    assert lock.is_free() and not path.exists()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert not lock.is_free()
        with pytest.raises(LockedError, match="held by process 4242 on box"):
            lock.acquire()
        assert lock.holder() == {"pid": 4242, "host": "box"}
        holder.kill()
    lock.acquire({"pid": 1}, wait_s=5.0)
    assert lock.held and not lock.is_free()
    lock.acquire()
    lock.release()
    lock.release()
    assert lock.is_free() and path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a platform without fork")
def test_a_forked_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    """Regression: workers of a DataLoader kept a run locked after its training had ended."""
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom ckpt.files import FileLock\n"
        "path = Path(sys.argv[1])\nlock = FileLock(path)\nlock.acquire()\nheard, tell = os.pipe()\n"
        "up, ready = os.pipe()\n"
        "if os.fork() == 0:\n    os.close(tell)\n    os.write(ready, b'.')\n    os.read(heard, 1)\n    os._exit(0)\n"
        "os.read(up, 1)\nprint(lock.held, FileLock(path).is_free(), FileLock(path).held_beside, lock.held_beside)\n"
        "lock.release()\nprint(FileLock(path).is_free())\nos.close(tell)\nos.wait()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "l")], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["True", "False", "True", "False", "True"], "")


def test_a_lock_can_be_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = files.FileLock(path)
    first.acquire()
    timer = threading.Timer(0.2, first.release)
    timer.start()
    second = files.FileLock(path)
    second.acquire(wait_s=10.0)
    assert second.held
    timer.join()
    second.release()


def test_looking_at_a_lock_never_refuses_it(tmp_path: Path) -> None:
    """Whoever asks `is_free` shares the lock for an instant; that must not look like a holder."""
    path = tmp_path / "lock"
    looker = os.open(path, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(looker, fcntl.LOCK_SH)
    timer = threading.Timer(0.15, os.close, (looker,))
    timer.start()
    lock = files.FileLock(path)
    start = time.monotonic()
    lock.acquire()
    assert lock.held and time.monotonic() - start > 0.05
    timer.join()
    lock.release()


@pytest.mark.parametrize("content", [b"", b"not json", b"[1]", b"\xff" * 70000])
def test_a_holder_that_says_nothing_readable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)
    assert files.FileLock(path).holder() == {}


def test_a_copy_is_whole_independent_and_dated(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(os.urandom(100_000))
    os.utime(source, ns=(1, 1_600_000_000_000_000_001))
    seen: list[int] = []
    files.copy_file(source, target, progress=seen.append)
    assert target.read_bytes() == source.read_bytes() and sum(seen) == 100_000
    assert target.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert target.stat().st_ino != source.stat().st_ino
    with pytest.raises(FileExistsError):
        files.copy_file(source, target)
    with pytest.raises(FileNotFoundError):
        files.copy_file(tmp_path / "none", tmp_path / "c")
    assert names(tmp_path) == ["a", "b"]


def test_the_hash_is_blake3_of_the_content(tmp_path: Path) -> None:
    from blake3 import blake3

    path = tmp_path / "f"
    content = os.urandom((1 << 20) + 17)
    path.write_bytes(content)
    seen: list[int] = []
    assert files.hash_file(path, progress=seen.append) == blake3(content).hexdigest()
    assert sum(seen) == len(content)


def test_a_process_is_alive_or_not() -> None:
    assert files.pid_alive(os.getpid()) and files.pid_alive(1)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=30)
    assert not files.pid_alive(child.pid)
    assert not files.pid_alive(10**30)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells it")
def test_a_process_that_ended_and_was_not_waited_for_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.read() == b""
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not files.pid_alive(child.pid)


def test_directories_are_made_with_those_above_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "fsync_directory", synced.append)
    files.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and set(synced) == {tmp_path, tmp_path / "a"}
    files.make_directory(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_only_old_temporaries_of_the_dead_are_swept(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=30)
    dead, alive = f".a.pt.{child.pid}-00000000.tmp", ".a.pt.1-00000000.tmp"
    mine, huge, young = (
        f".a.pt.{os.getpid()}-00000000.tmp",
        f".a.pt.{10**30}-00000000.tmp",
        f".b.{child.pid}-1a2b3c4d.tmp",
    )
    for name in (dead, alive, mine, huge, young, "a.pt", "b.tmp"):
        (tmp_path / name).write_bytes(b"")
        if name != young:
            os.utime(tmp_path / name, (1, 1))
    assert sorted(path.name for path in files.sweep_temporaries(tmp_path)) == sorted([dead, huge])
    assert names(tmp_path) == sorted([alive, mine, young, "a.pt", "b.tmp"])
    assert files.sweep_temporaries(tmp_path / "none") == []


@pytest.mark.parametrize("read", [files.read_json, lambda path: list(files.read_json_lines(path))])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    pipe = tmp_path / "marks.jsonl"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        read(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        files.Appender(pipe)
    assert files.FileLock(pipe).is_free()
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def test_a_line_without_end_is_passed_over_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "states.jsonl"
    hole = 64 << 20
    with open(path, "wb") as stream:
        stream.write(b"1\n")
        stream.seek(hole)
        stream.write(b"\n2\n")
    tracemalloc.start()
    try:
        assert list(files.read_json_lines(path)) == [1, 2]
        assert tracemalloc.get_traced_memory()[1] < hole
    finally:
        tracemalloc.stop()


def test_lines_of_a_file_above_the_limit_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    path.write_bytes(b"1\n2\n")
    assert list(files.read_json_lines(path, limit=4)) == [1, 2]
    with pytest.raises(OSError, match="larger than 3 bytes"):
        list(files.read_json_lines(path, limit=3))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("kind", ["json", "appender", "source", "growing"])
def test_a_file_whose_kind_cannot_be_asked_is_closed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    path.write_text("{}")
    openers: dict[str, Callable[..., object]] = {
        "json": files.read_json,
        "appender": files.Appender,
        "source": Source,
        "growing": Growing,
    }

    def fails(fd: int) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error")

    def held() -> list[str]:
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return [os.readlink(link) for link in links if os.path.islink(link)]

    with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output"):
        patched.setattr(os, "fstat", fails)
        openers[kind](path if kind != "growing" else str(path))
    assert str(path) not in held()
