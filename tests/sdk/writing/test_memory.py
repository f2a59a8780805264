"""Shared memory, with real processes: passed on, not inherited, nothing left behind, counted once."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt.writing.memory import SharedMemory

MB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory that is passed by descriptor")


def python(code: str, *arguments: object, fds: tuple[int, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        pass_fds=fds,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("ckpt-staging")


def test_new_memory_is_zero_writable_and_begins_at_a_page() -> None:
    memory = SharedMemory(3 * MB + 1)
    assert memory.size == len(memory.view) == 4 * MB
    assert memory.view.format == "B"
    assert memory.address % os.sysconf("SC_PAGESIZE") == 0
    assert bytes(memory.view) == bytes(memory.size)
    memory.view[5:8] = b"abc"
    assert ctypes.string_at(memory.address + 5, 3) == b"abc"
    memory.close()


@linux
def test_all_pages_are_there_before_the_first_write() -> None:
    memory = SharedMemory(32 * MB)
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    start = f"{memory.address:x}-"
    assert any(line.startswith(start) for line in lines)
    resident = next(line for line in lines if line.startswith("Rss:"))
    assert int(resident.split()[1]) >= 32 << 10
    memory.close()


@linux
def test_a_process_that_gets_the_descriptor_sees_the_same_bytes_and_writes_them() -> None:
    memory = SharedMemory(1)
    memory.view[:5] = b"hello"
    code = """
import sys
from ckpt.writing.memory import SharedMemory
memory = SharedMemory.attach(int(sys.argv[1]), int(sys.argv[2]))
print(bytes(memory.view[:5]).decode())
memory.view[-5:] = b"world"
memory.close()
"""
    assert memory.fd is not None
    assert python(code, memory.fd, memory.size, fds=(memory.fd,)) == "hello\n"
    assert bytes(memory.view[-5:]) == b"world"
    memory.close()


@linux
def test_a_descriptor_of_less_is_refused_instead_of_a_crash_at_the_missing_pages() -> None:
    memory = SharedMemory(1)
    assert memory.fd is not None
    with pytest.raises(ValueError, match="not"):
        SharedMemory.attach(memory.fd, memory.size + 4096)
    memory.close()


@linux
def test_a_program_that_is_started_beside_it_does_not_get_the_descriptor() -> None:
    memory = SharedMemory(1)
    code = "import os; print(any('ckpt-staging' in os.readlink(f'/proc/self/fd/{n}') for n in range(3, 100) if "
    code += "os.path.islink(f'/proc/self/fd/{n}')))"
    done = subprocess.run([sys.executable, "-c", code], close_fds=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
    memory.close()


@linux
def test_a_forked_child_has_neither_the_mapping_nor_the_descriptor_and_harms_nobody_when_it_ends() -> None:
    code = """
import gc, mmap, os, sys
from ckpt.writing.image import StagedImage
from ckpt.writing.layout import lay_out
from ckpt.writing.memory import SharedMemory
memory = SharedMemory(8 << 20)
memory.view[:4] = b"kept"
image = StagedImage(memory, lay_out("s", 10, []))
held = memory.view[:100]
fd, address = memory.fd, memory.address
child = os.fork()
if child == 0:
    assert memory.closed and memory.fd is None
    assert "ckpt-staging" not in open("/proc/self/maps").read()
    assert not any("ckpt-staging" in os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
                   if os.path.islink(f"/proc/self/fd/{name}"))
    try:
        next(image.chunks())
    except ValueError:
        pass
    else:
        sys.exit("an image without memory gave bytes")
    # What lies at the same addresses by now must not go away with the inherited objects.
    others = [mmap.mmap(-1, 8 << 20) for _ in range(8)]
    del memory, image, held
    gc.collect()
    for other in others:
        other[:] = bytes(len(other))
    own = SharedMemory(1)
    own.view[:3] = b"own"
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert bytes(memory.view[:4]) == b"kept" and os.fstat(fd).st_size == memory.size
print("fine")
"""
    assert python(code) == "fine\n"


@linux
def test_an_owner_that_is_killed_leaves_nothing() -> None:
    before = set(os.listdir("/dev/shm"))
    code = """
import os, signal
from ckpt.writing.memory import SharedMemory
memory = SharedMemory(64 << 20)
print(*os.listdir("/dev/shm"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    named = {name for name in {*done.stdout.split(), *os.listdir("/dev/shm")} - before if "ckpt" in name}
    assert not named


@linux
def test_memory_is_counted_once_also_when_it_grows() -> None:
    code = """
from ckpt.writing.memory import SharedMemory
def peak():
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
memory = SharedMemory(64 << 20)
first = peak() - before
memory.grow(128 << 20)
resident = next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(first, resident - before)
"""
    first, grown = map(int, python(code).split())
    assert 64 <= first < 64 + 8
    assert 128 <= grown < 128 + 8


@linux
def test_growing_keeps_bytes_and_descriptor_and_who_attached_before_stays_attached() -> None:
    memory = SharedMemory(2 * MB)
    assert memory.fd is not None
    fd, view = memory.fd, memory.view
    other = SharedMemory.attach(os.dup(fd), memory.size)
    memory.view[:4] = b"kept"
    memory.grow(5 * MB)
    assert (memory.fd, memory.size, os.fstat(fd).st_size) == (fd, 6 * MB, 6 * MB)
    assert bytes(memory.view[:4]) == b"kept"
    assert bytes(memory.view[2 * MB :]) == bytes(4 * MB)
    memory.view[4:8] = b"seen"
    assert bytes(other.view[:8]) == bytes(view[:8]) == b"keptseen"
    again = SharedMemory.attach(os.dup(fd), memory.size)
    assert bytes(again.view[:8]) == b"keptseen"
    for each in (memory, other, again):
        each.close()


def test_growing_to_less_changes_nothing() -> None:
    memory = SharedMemory(4 * MB)
    address, size = memory.address, memory.size
    memory.grow(1)
    assert (memory.address, memory.size) == (address, size)
    memory.close()


@linux
def test_closing_gives_the_memory_back_once_nobody_holds_a_view() -> None:
    before = mappings()
    memory = SharedMemory(2 * MB)
    fd, part = memory.fd, memory.view[10:20]
    assert fd is not None
    assert mappings() == before + 1
    memory.close()
    memory.close()
    part[:] = b"0123456789"
    assert bytes(part) == b"0123456789"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    del part
    assert mappings() == before
    assert memory.closed
    with pytest.raises(ValueError, match="closed"):
        _ = memory.view


def test_more_than_there_is_is_refused_before_any_is_taken_and_what_was_there_stays() -> None:
    with pytest.raises(MemoryError, match="cannot be had"):
        SharedMemory(1 << 50)
    memory = SharedMemory(2 * MB)
    memory.view[:4] = b"kept"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MemoryError, match="cannot be had"):
        memory.grow(1 << 50)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < peak + (64 << 10)
    assert memory.size == 2 * MB
    assert bytes(memory.view[:4]) == b"kept"
    memory.close()


@linux
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_FSIZE"])
def test_a_limit_of_the_process_is_a_memory_error_and_earlier_memory_stays(limit: str) -> None:
    code = """
import resource, os, sys
from ckpt.writing.memory import SharedMemory
memory = SharedMemory(2 << 20)
memory.view[:4] = b"kept"
used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
most = used + (64 << 20) if sys.argv[1] == "RLIMIT_AS" else 32 << 20
resource.setrlimit(getattr(resource, sys.argv[1]), (most, most))
try:
    memory.grow(512 << 20)
except MemoryError as error:
    print(error)
assert memory.size == os.fstat(memory.fd).st_size == 2 << 20
memory.grow(16 << 20)
assert bytes(memory.view[:4]) == b"kept"
"""
    assert "cannot be had" in python(code, limit)


@linux
def test_where_descriptors_are_not_to_be_had_the_memory_is_of_this_process_alone() -> None:
    code = """
import os, resource
from ckpt.writing.memory import SharedMemory
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
memory = SharedMemory(4 << 20)
assert memory.fd is None
memory.view[:4] = b"mine"
memory.grow(8 << 20)
memory.view[-4:] = b"mine"
memory.close()
print("fine")
"""
    assert python(code) == "fine\n"
