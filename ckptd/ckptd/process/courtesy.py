"""Stepping back behind the trainings of this machine: low priority for processor and disk."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

NICENESS = 10
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Number of the system call that sets a thread's I/O priority, for 64-bit processes."""
_WHO_THREAD = 1
_CLASS_IDLE = 3 << 13
DESCRIPTORS_MAX = 1 << 16
"""More are not asked for: some programs close every possible descriptor one by one when they start."""


def be_courteous() -> list[str]:
    """Lowers this process, with all its threads and later children, to nice 10 and idle I/O. Never raises it.

    Returns what could not be had, a sentence each. I/O classes exist on Linux only and are not missed elsewhere.
    """
    missed: dict[str, None] = {}
    for thread in _threads():
        try:
            if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
        except ProcessLookupError:
            continue
        except OSError as error:
            missed[f"nice {NICENESS} could not be had: {error.strerror}"] = None
        problem = _idle_io(thread)
        if problem is not None:
            missed[problem] = None
    return list(missed)


def raise_descriptor_limit() -> int | None:
    """Allows this process as many open files as it may ask for, up to 65536; the limit now, None if not known."""
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def _threads() -> list[int]:
    """Ids of this process's threads; on Linux priorities belong to each of them."""
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]


def _idle_io(thread: int) -> str | None:
    number = _IOPRIO_SET.get(platform.machine()) if sys.platform == "linux" and sys.maxsize > 2**32 else None
    if number is None:
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return None
    if call(ctypes.c_long(number), _WHO_THREAD, thread, _CLASS_IDLE) == 0:
        return None
    error = ctypes.get_errno()
    # Sandboxes without this call, and threads that ended meanwhile.
    return f"idle I/O class could not be had: {os.strerror(error)}" if os.path.exists(f"/proc/{thread}") else None
