"""Fast and durable writing of one new file: past the page cache where the file system takes that.

Writing through the page cache copies every byte and has the kernel flush it on the processors that train. Direct writes
of whole chunks do neither. One thread writes a part while the caller makes the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ckpt.writing.worker import Worker

if sys.platform != "win32":
    import fcntl

BLOCK = 4096
"""Bytes to which direct writes are aligned in file and memory; what wants more is written through the page cache."""
_BOUNCE = 1 << 20
_START, _DONE = 2, 1 | 2 | 4  # sync_file_range: begin to write a range; and wait until it is written
_UNAVAILABLE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ESPIPE, errno.EPERM)


@dataclass(frozen=True)
class Written:
    """A file that is whole on the disk."""

    inode: int
    direct: bool
    """Whether no part went through the page cache."""
    seconds: float


def write(path: Path, parts: Iterable[memoryview], size: int) -> Written:
    """Makes a file of these parts, `size` bytes together; it is durable when this returns.

    A part is read until two more have been taken. Raises FileExistsError, other OSError, ValueError when the parts are
    not `size` bytes, and what the parts raise; the file is gone then. A file whose fsync failed is never used.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    began = time.perf_counter()
    fd = os.open(path, flags, 0o666)
    try:
        try:
            sink = _Sink(fd)
            _put_all(sink, parts, size)
            if sink.offset != size:
                raise ValueError(f"{sink.offset} bytes came for a file of {size}")
            os.ftruncate(fd, size)
            os.fsync(fd)
            inode = os.fstat(fd).st_ino
        finally:
            os.close(fd)
        return Written(inode, sink.direct, time.perf_counter() - began)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _put_all(sink: _Sink, parts: Iterable[memoryview], size: int) -> None:
    behind = _Behind(sink.put)
    try:
        for part in parts:
            if len(part) == size:
                sink.put(part)
            else:
                behind.put(part)
    finally:
        behind.close()
    behind.check()


class _Sink:
    """The bytes of a file, in file order."""

    def __init__(self, fd: int) -> None:
        self.offset = 0
        """Bytes that have come."""
        self.direct = _go_direct(fd)
        self._fd = fd
        self._bounce: mmap.mmap | None = None
        self._flushing = (0, 0)

    def put(self, part: memoryview) -> None:
        """Writes the next bytes. Raises OSError."""
        part = part.cast("B")
        while len(part) and self.direct and self.offset % BLOCK == 0:
            part = part[self._put_direct(part) :]
        if len(part):
            self._leave_direct()
            self._put_cached(part)

    def _put_direct(self, part: memoryview) -> int:
        """Writes the beginning of a part past the cache; how many bytes of it. 0 where that is not taken."""
        whole = len(part) - len(part) % BLOCK
        if whole and _address(part) % BLOCK == 0:
            piece, count = part[:whole], whole
        else:
            piece, count = self._bounced(part)
        try:
            done = os.pwrite(self._fd, piece, self.offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            done = 0
        if done % BLOCK or not done:
            self._leave_direct()
        done = min(done, count)
        self.offset += done
        return done

    def _bounced(self, part: memoryview) -> tuple[memoryview, int]:
        """The beginning of a part in aligned memory, filled up with zeros to a block; and its length without them."""
        if self._bounce is None:
            self._bounce = mmap.mmap(-1, _BOUNCE)
        count = min(len(part), _BOUNCE)
        padded = -(-count // BLOCK) * BLOCK
        self._bounce[:count] = part[:count]
        self._bounce[count:padded] = bytes(padded - count)
        return memoryview(self._bounce)[:padded], count

    def _leave_direct(self) -> None:
        """Goes on through the page cache."""
        if self.direct:
            self.direct = False
            fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_DIRECT)

    def _put_cached(self, part: memoryview) -> None:
        begin = self.offset
        while len(part):
            done = _pwrite(self._fd, part, self.offset)
            if not done:
                raise OSError(errno.EIO, "nothing was written")
            self.offset += done
            part = part[done:]
        # The kernel begins at once, and little waits for the fsync.
        _flush(self._fd, begin, self.offset - begin, _START)
        _flush(self._fd, *self._flushing, _DONE)
        self._flushing = (begin, self.offset - begin)


class _Behind:
    """Does one thing after the other beside the caller; takes the next when the last but one is done."""

    def __init__(self, act: Callable[[memoryview], None]) -> None:
        self._act = act
        self._worker = Worker("ckpt-disk")
        self._free = threading.Semaphore(1)
        self._error: BaseException | None = None

    def put(self, part: memoryview) -> None:
        """Waits for the last part and hands on the next. Raises what the act raised."""
        self._free.acquire()
        self.check()
        self._worker.give(functools.partial(self._do, part))

    def check(self) -> None:
        """Raises what the act raised."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Waits until nothing is under way, also when interrupted meanwhile: nobody may free the memory before."""
        self._worker.end()

    def _do(self, part: memoryview) -> None:
        try:
            self._act(part)
        except BaseException as error:  # noqa: BLE001
            self._error = error
        finally:
            self._free.release()


def _go_direct(fd: int) -> bool:
    """Has a file written past the page cache; whether its file system takes that."""
    if not hasattr(os, "O_DIRECT"):
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
    except OSError:
        return False
    return True


def _address(part: memoryview) -> int:
    """Where a part lies in memory; an odd number where that cannot be known."""
    return 1 if part.readonly else ctypes.addressof(ctypes.c_char.from_buffer(part))


def _pwrite(fd: int, part: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, part, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, part)


@functools.cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def _flush(fd: int, offset: int, length: int, how: int) -> None:
    """Has a range written, where the system can be asked to. Raises OSError when that failed."""
    call = getattr(_libc(), "sync_file_range", None)
    if call is None or not length:
        return
    if call(ctypes.c_int(fd), ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(how)) != 0:
        number = ctypes.get_errno()
        # A wait that tells of a failed write takes that away from the fsync: it may not be passed over.
        if number not in _UNAVAILABLE:
            raise OSError(number, os.strerror(number))
