"""One daemon a user and machine: the lock that makes it the only one, and its socket."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import stat
import time
from pathlib import Path

from ckpt import protocol
from ckpt.exceptions import LockedError, OperationError, UsageError
from ckpt.files import FileLock
from ckpt.paths import IS_POSIX, StatePaths


@functools.cache
def version() -> str:
    """The version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("ckptd")
    except PackageNotFoundError:
        return "0"


def need_posix() -> None:
    """Raises UsageError where the daemon cannot run."""
    if not IS_POSIX:
        raise UsageError(
            "the daemon needs a POSIX system",
            hint="the library works here without it: saving, resuming and `ckpt` on paths",
        )


def take_lock(state: StatePaths, path: Path) -> FileLock:
    """The lock of the only daemon, with a note that tells clients where its socket is.

    Raises LockedError that names the process that holds it, and OperationError when the state directory cannot be used.
    """
    try:
        state.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(state.directory, 0o700)
    except OSError as error:
        raise OperationError(
            f"the state directory {state.directory} cannot be used: {error.strerror}",
            hint="set CKPTD_STATE_HOME to a directory of your own",
        ) from error
    lock = FileLock(state.lock)
    note = {
        "pid": os.getpid(),
        "socket": str(path),
        "version": version(),
        "protocol": protocol.PROTOCOL,
        "started": time.time(),
    }
    try:
        # A client that looks whether the lock is free holds it for an instant.
        lock.acquire(note, wait_s=0.3)
    except LockedError:
        pid = lock.holder().get("pid", "?")
        raise LockedError(
            f"ckptd already runs as process {pid}", hint="see `ckptd status`; `ckptd stop` ends it"
        ) from None
    return lock


def bind(path: Path) -> socket.socket:
    """A listening socket that only this user can open. Call it while holding the lock: a stale socket is removed.

    Raises OperationError when others may write into its directory, or the name is taken by something else.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.parent.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o022:
            raise OperationError(
                f"{path.parent} is not a directory that only this user writes", hint="set CKPTD_RUNTIME_DIR to one"
            )
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise OperationError(f"{path} is there and is no socket", hint="move it away")
            if _is_listened_to(path):
                raise OperationError(
                    f"another daemon, with another state directory, listens on {path}",
                    hint="set CKPTD_RUNTIME_DIR to a directory of its own for each of them",
                )
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mode is decided by the umask: between bind and a later chmod others could connect.
        umask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(umask)
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        raise OperationError(
            f"the socket {path} cannot be made: {error.strerror}", hint="set CKPTD_RUNTIME_DIR to a directory of yours"
        ) from error
    return listener


def _is_listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full
        except OSError:
            return False
    return True
