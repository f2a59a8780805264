"""One daemon a user and machine: the lock, the socket, the start in the background, the stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckpt import client, protocol
from ckpt.encoding import printable
from ckpt.exceptions import CkptError, DaemonError, LockedError, OperationError, UsageError
from ckpt.files import FileLock
from ckpt.paths import IS_POSIX, StatePaths

START_S = 30.0
STOP_S = 15.0


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

    Raises OperationError when the directory is not private or the name is taken by something else.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.parent.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise OperationError(f"{path.parent} is not a directory of this user", hint="set CKPTD_RUNTIME_DIR to one")
        os.chmod(path.parent, 0o700)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise OperationError(f"{path} is there and is no socket", hint="move it away")
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


def start(*, watch: Sequence[str] = (), idle_exit: bool = False) -> dict[str, Any]:
    """Starts a daemon in the background and waits until it answers; returns its note.

    When one runs already it is used, and takes the directories to watch. Raises DaemonError when it does not come up.
    """
    need_posix()
    paths = [os.path.realpath(os.path.expanduser(path)) for path in watch]
    running = client.daemon_note()
    if running is not None:
        _watch_too(paths)
        return {**(client.daemon_note() or running), "already": True}
    state = StatePaths.here()
    log = state.log
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        errors = open(log.with_name("start.log"), "wb")  # noqa: SIM115
    except OSError as error:
        raise OperationError(
            f"the log {log} cannot be written: {error.strerror}", hint="set CKPTD_STATE_HOME to a directory of your own"
        ) from error
    command = [sys.executable, "-m", "ckptd", "run", "--log-file"]
    command += ["--idle-exit"] if idle_exit else []
    for path in paths:
        command += ["--watch", path]
    with errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            close_fds=True,
            cwd="/",
        )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        code = process.poll()
        note = client.daemon_note()
        if note is not None and note.get("socket") and os.path.exists(note["socket"]):
            if note.get("pid") != process.pid:
                # Another start was faster; ours ends by itself.
                process.wait(START_S)
                _watch_too(paths)
                return {**note, "already": True}
            with contextlib.suppress(CkptError, OSError):
                with client.Client.connect(autostart=False) as one:
                    one.get("/v1/status")
                # A daemon is not waited for; its parent is gone by then.
                process.returncode = 0
                return note
        elif code is not None:
            told = log.with_name("start.log").read_text("utf-8", "replace").strip()
            raise DaemonError(f"ckptd could not start: {told or f'exit code {code}'}", hint=f"its log: {log}")
        time.sleep(0.02)
    raise DaemonError(f"ckptd (process {process.pid}) did not answer within {START_S:g} s", hint=f"its log: {log}")


def _watch_too(paths: Sequence[str]) -> None:
    with client.Client.connect(autostart=False) as one:
        for path in paths:
            one.post("/v1/roots", {"path": path, "keep": False})


def stop() -> int | None:
    """Ends the daemon and waits until it is gone; returns its process id, None when none ran. Raises DaemonError."""
    need_posix()
    note = client.daemon_note()
    if note is None:
        return None
    pid = note.get("pid")
    lock = FileLock(StatePaths.here().lock)
    asked = False
    with contextlib.suppress(CkptError, OSError), client.Client.connect(autostart=False) as one:
        one.post("/v1/stop")
        asked = True
    if not asked and isinstance(pid, int):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if lock.is_free():
            return pid if isinstance(pid, int) else 0
        if lock.holder().get("pid") != pid:
            return pid if isinstance(pid, int) else 0
        time.sleep(0.02)
    raise DaemonError(
        f"ckptd (process {printable(str(pid))}) did not end within {STOP_S:g} s",
        hint=f"it may be finishing an act; `kill {pid}` twice ends it at once",
    )
