"""Memory that a training and its writer share: without a name, so whoever dies leaves nothing behind.

A child that the training forks gets neither the mapping nor the descriptor.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import sys
import weakref
from functools import partial
from typing import Any

from ckpt.writing.available import available
from ckpt.writing.threads import side_by_side

_STEP = 2 << 20  # bytes: sizes are multiples of a huge page
_SPARED = 16  # one part in so many of the memory that is available stays so
_THREADS = 4  # that touch new pages at a time
_DONTFORK, _HUGEPAGE, _DONTDUMP, _POPULATE_WRITE = 10, 14, 16, 23  # madvise; the last since Linux 5.14


class SharedMemory:
    """A part of memory that is reused from save to save, all of its pages touched, so that writing to it is a memcpy.

    `SharedMemory(size)` raises MemoryError when so much cannot be had, without taking memory from others first.
    """

    def __init__(self, size: int) -> None:
        """Takes at least `size` bytes."""
        self._size = 0
        self._view: memoryview | None = None
        self._fd = _create()
        _living.add(self)
        try:
            self.grow(size)
        except BaseException:
            self.close()
            raise

    @classmethod
    def attach(cls, fd: int, size: int) -> SharedMemory:
        """The memory behind a descriptor of another process, which from now on belongs to this object.

        Raises OSError, and ValueError for one that is smaller.
        """
        if os.fstat(fd).st_size < size:
            raise ValueError(f"the memory has {os.fstat(fd).st_size} bytes, not {size}")
        memory = cls.__new__(cls)
        memory._size = size
        memory._fd = fd
        memory._view = memoryview(_mapped(fd, size)).cast("B")
        _living.add(memory)
        return memory

    @property
    def fd(self) -> int | None:
        """What a writer process attaches by, the same for life; None where memory cannot be passed on."""
        return self._fd

    @property
    def size(self) -> int:
        """Bytes, a multiple of the page size; 0 when closed."""
        return self._size

    @property
    def view(self) -> memoryview:
        """All of it, writable. Whoever holds the view keeps the memory, also after `close`. Raises ValueError then."""
        if self._view is None:
            raise ValueError("the memory is closed")
        return self._view

    @property
    def address(self) -> int:
        """Where the view begins, a multiple of the page size. Raises ValueError when closed."""
        return ctypes.addressof(ctypes.c_ubyte.from_buffer(self.view))

    @property
    def closed(self) -> bool:
        """Also true in a child that was forked from the owner."""
        return self._view is None

    def grow(self, size: int) -> None:
        """Makes room for at least `size` bytes. The view and the address may be new; what lies there stays, or is zero.

        Raises MemoryError, with everything as it was.
        """
        size = -(-max(size, 1) // _STEP) * _STEP
        if size <= self._size:
            return
        more = size - self._size
        left = available()
        if left is not None and more > left - left // _SPARED:
            raise MemoryError(f"{more:,} bytes of memory for a staging copy cannot be had: {left:,} are available")
        try:
            if self._fd is not None:
                os.ftruncate(self._fd, size)
            view = memoryview(_mapped(self._fd, size)).cast("B")
            _touch(self._fd, view)
        except (OSError, OverflowError, ValueError) as error:
            if self._fd is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self._size)
            raise MemoryError(f"{more:,} bytes of memory for a staging copy cannot be had: {error}") from error
        self._size, self._view = size, view

    def close(self) -> None:
        """Gives the memory back as soon as nobody holds a view of it; may be called twice."""
        fd, self._fd = self._fd, None
        self._size, self._view = 0, None
        if fd is not None:
            os.close(fd)


_living: weakref.WeakSet[SharedMemory] = weakref.WeakSet()


def _forget() -> None:
    """In a forked child: the mapping is not there, and the descriptor would keep the memory alive."""
    for memory in list(_living):
        memory.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _create() -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return os.memfd_create("ckpt-staging", os.MFD_CLOEXEC)
    except OSError:  # a sandbox that forbids it
        return None


def _mapped(fd: int | None, size: int) -> Any:
    """A mapping as a buffer that unmaps itself when it is dropped. Raises OSError."""
    if sys.platform != "linux":
        return mmap.mmap(-1, size)
    # Not through the mmap module: that one keeps a copy of the descriptor, also in a forked child, and unmaps there
    # what may be something else's by then.
    kind = mmap.MAP_SHARED if fd is not None else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    libc = _libc()
    address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, kind, -1 if fd is None else fd, 0)
    if address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    mapping = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(mapping, _unmap, address, size, os.getpid()).atexit = False
    for advice in (_DONTFORK, _HUGEPAGE, _DONTDUMP):
        libc.madvise(address, size, advice)
    return mapping


def _unmap(address: int, size: int, owner: int) -> None:
    if os.getpid() == owner:
        _libc().munmap(address, size)


def _touch(fd: int | None, view: memoryview) -> None:
    """Has the kernel give every page, by several threads. Raises OSError when it has none left."""
    if sys.platform != "linux":
        return
    address = ctypes.addressof(ctypes.c_ubyte.from_buffer(view))
    count = min(_THREADS, len(os.sched_getaffinity(0)), len(view) // _STEP)
    length = -(-len(view) // count // _STEP) * _STEP
    parts = [(address + start, min(length, len(view) - start)) for start in range(0, len(view), length)]
    failures: list[int] = []

    def populate(start: int, size: int) -> None:
        if _libc().madvise(start, size, _POPULATE_WRITE):
            failures.append(ctypes.get_errno())

    side_by_side([partial(populate, *part) for part in parts])
    if errno.EINVAL in failures:  # an older kernel
        if fd is not None:
            os.posix_fallocate(fd, 0, len(view))
    elif failures:
        raise OSError(failures[0], os.strerror(failures[0]))


def _libc() -> ctypes.CDLL:
    global _library
    if _library is None:
        library = ctypes.CDLL(None, use_errno=True)
        library.mmap.restype = ctypes.c_void_p
        library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        _library = library
    return _library


_library: ctypes.CDLL | None = None
