"""Files written past the page cache and through it: the same bytes, durable, or no file at all."""

from __future__ import annotations

import errno
import mmap
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckpt.writing import disk
from ckpt.writing.image import CHUNK

SIZES = [0, 1, 4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 12_345, 3 * CHUNK]


def memory(size: int, shift: int = 0) -> memoryview:
    """Random bytes that begin `shift` bytes behind a page."""
    area = memoryview(mmap.mmap(-1, size + shift + 1))
    area[shift : shift + size] = random.Random(size).randbytes(size)
    return area[shift : shift + size]


def parts(content: memoryview, length: int = CHUNK) -> Iterator[memoryview]:
    for start in range(0, len(content), length):
        yield content[start : start + length]


@pytest.fixture(params=["direct", "cached", "refused"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the file system takes direct writes: well, not at all, or it says so and then refuses each."""
    if request.param == "cached":
        monkeypatch.setattr(disk, "_go_direct", lambda fd: False)
    if request.param == "refused":
        # No file system can write at once what is not aligned in memory.
        monkeypatch.setattr(disk, "_address", lambda part: 0)
    return str(request.param)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_its_parts_in_their_order(tmp_path: Path, way: str, size: int) -> None:
    content = memory(size, shift=1 if way == "refused" else 0)
    written = disk.write(tmp_path / "file", parts(content), size)
    assert (tmp_path / "file").read_bytes() == content
    assert written.inode == (tmp_path / "file").stat().st_ino
    assert written.seconds > 0
    if way == "cached" or (way == "refused" and size >= disk.BLOCK):
        assert not written.direct


def test_here_files_go_past_the_page_cache_where_the_file_system_takes_it(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.touch()
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this file system takes no direct writes")
    try:
        os.pwrite(fd, mmap.mmap(-1, 4096), 0)
    except OSError:
        pytest.skip("this file system takes no direct writes")
    finally:
        os.close(fd)
    size = 2 * CHUNK + 777
    assert disk.write(tmp_path / "file", parts(memory(size)), size).direct
    assert os.stat(tmp_path / "file").st_size == size


@pytest.mark.parametrize("shift", [1, 8, 4096 - 16])
@pytest.mark.parametrize("length", [CHUNK, 100_000, 4096 * 3, 17])
def test_memory_and_parts_may_begin_anywhere(tmp_path: Path, shift: int, length: int) -> None:
    content = memory(100_000 if length == 17 else CHUNK + 99_999, shift)
    disk.write(tmp_path / "file", parts(content, length), len(content))
    assert (tmp_path / "file").read_bytes() == content


def test_memory_that_may_not_be_changed_is_written(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(300_001)
    assert disk.write(tmp_path / "file", iter([memoryview(content)]), len(content)).direct in (True, False)
    assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_two_buffers_are_enough_for_any_file(tmp_path: Path, way: str, count: int) -> None:
    """A part is used up when two more have been taken: its buffer may be filled again for the third."""
    buffers = [memoryview(mmap.mmap(-1, CHUNK)) for _ in range(2)]

    def reused() -> Iterator[memoryview]:
        for number in range(count):
            buffers[number % 2][:] = bytes([number + 1]) * CHUNK
            yield buffers[number % 2]

    disk.write(tmp_path / "file", reused(), count * CHUNK)
    assert (tmp_path / "file").read_bytes() == b"".join(bytes([n + 1]) * CHUNK for n in range(count))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4 of 1 KiB blocks"])
def test_other_file_systems_take_the_same_bytes(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    if kind == "tmpfs":
        mount = ["-t", "tmpfs", "tmpfs"]
    else:
        (tmp_path / "blocks").write_bytes(b"")
        os.truncate(tmp_path / "blocks", 64 << 20)
        made = subprocess.run(["mkfs.ext4", "-q", "-b", "1024", tmp_path / "blocks"], capture_output=True)
        if made.returncode:
            pytest.skip("this machine makes no ext4")
        mount = ["-o", "loop", str(tmp_path / "blocks")]
    if subprocess.run(["mount", *mount, place], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        for size in SIZES:
            content = memory(size)
            disk.write(place / "file", parts(content), size)
            assert (place / "file").read_bytes() == content
            (place / "file").unlink()
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_name_that_is_taken_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        disk.write(tmp_path / "file", parts(memory(5000)), 5000)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("limit", [0, 5000, CHUNK, CHUNK + 4096, 2 * CHUNK + 100])
def test_a_file_that_may_not_grow_is_gone_and_the_error_comes(tmp_path: Path, way: str, limit: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    content = memory(4 * CHUNK, shift=1 if way == "refused" else 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError) as failed:
            disk.write(tmp_path / "file", parts(content), len(content))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert failed.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a device is gone")])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_what_the_parts_raise_comes_out_and_no_file_stays(tmp_path: Path, error: BaseException, after: int) -> None:
    def broken() -> Iterator[memoryview]:
        yield from list(parts(memory(3 * CHUNK)))[:after]
        raise error

    with pytest.raises(type(error)):
        disk.write(tmp_path / "file", broken(), 4 * CHUNK)
    assert os.listdir(tmp_path) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "ckpt-disk"]


@pytest.mark.parametrize("size", [CHUNK, 3 * CHUNK])
def test_parts_that_are_not_the_file_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=f"{2 * CHUNK} bytes came for a file of {size}"):
        disk.write(tmp_path / "file", parts(memory(2 * CHUNK)), size)
    assert os.listdir(tmp_path) == []


def test_without_threads_it_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of an interpreter, which starts none any more."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    content = memory(2 * CHUNK + 5)
    disk.write(tmp_path / "file", parts(content), len(content))
    assert (tmp_path / "file").read_bytes() == content


def test_no_memory_and_no_descriptor_is_held_afterwards(tmp_path: Path) -> None:
    area = mmap.mmap(-1, 2 * CHUNK)

    def attempt(act: Callable[[], object]) -> None:
        descriptors = os.listdir("/proc/self/fd")
        act()
        assert os.listdir("/proc/self/fd") == descriptors

    def write() -> None:
        with memoryview(area) as whole:
            taken = list(parts(whole))
            disk.write(tmp_path / "file", iter(taken), 2 * CHUNK)
            for part in taken:
                part.release()

    attempt(write)
    area.close()  # raises BufferError while anything looks into it


def test_an_interrupt_leaves_the_descriptor_to_the_thread_that_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed under it, the number would soon be another file's."""
    real, foreign = os.pwrite, []

    def slow(fd: int, data: memoryview, offset: int) -> int:
        if offset >= CHUNK and not foreign:
            foreign.append(False)
            for _ in range(2):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                time.sleep(0.2)
            foreign[0] = os.readlink(f"/proc/self/fd/{fd}") != str(tmp_path / "file")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    with pytest.raises(KeyboardInterrupt):
        disk.write(tmp_path / "file", parts(memory(2 * CHUNK)), 2 * CHUNK)
    assert foreign == [False]
    assert os.listdir(tmp_path) == []
