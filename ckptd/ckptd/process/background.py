"""A daemon seen from outside: started in the background, asked, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckpt import client
from ckpt.encoding import printable
from ckpt.exceptions import CkptError, DaemonError, NoDaemonError, OperationError
from ckpt.files import FileLock
from ckpt.paths import StatePaths
from ckptd.process import environment, lifecycle

START_S = 30.0
STOP_S = 15.0
ANSWER_S = 10.0
"""Seconds that a page which needs no work may take."""
_ASKING_S = 3.0
_HELD_UP_S = 2.0  # a process that was stopped by a signal is not waited for longer
_EXIT_TRIES = 50


def command(*arguments: str) -> list[str]:
    """How this ckptd is called from anywhere: -P, because the directory it is called from must not give it modules."""
    return [sys.executable, "-P", "-m", "ckptd", *arguments]


def start(*, watch: Sequence[str] = (), idle_exit: bool = False) -> dict[str, Any]:
    """Starts a daemon in the background and waits until it answers; returns its note.

    When one runs already it is used, and takes the directories to watch. Raises DaemonError when it does not come up.
    """
    lifecycle.need_posix()
    paths = [os.path.realpath(os.path.expanduser(path)) for path in watch]
    there = client.daemon_note()
    if there is not None:
        _watch_too(paths)
        return {**(client.daemon_note() or there), "already": True}
    log = StatePaths.here().log
    told = log.with_name("start.log")
    process = _spawn(command("run", "--log-file", *(["--idle-exit"] if idle_exit else []), *_options(paths)), told)
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
                with client.Client.connect(autostart=False, answer_s=ANSWER_S) as one:
                    one.get("/v1/status")
                # A daemon is not waited for; its parent is gone by then.
                process.returncode = 0
                return note
        elif code is not None:
            said = told.read_text("utf-8", "replace").strip()
            raise DaemonError(f"ckptd could not start: {said or f'exit code {code}'}", hint=f"its log: {log}")
        time.sleep(0.02)
    raise DaemonError(f"ckptd (process {process.pid}) did not answer within {START_S:g} s", hint=f"its log: {log}")


def running(*, answer_s: float = client.ANSWER_S) -> client.Client:
    """A connection to the daemon that runs. Raises NoDaemonError when none does."""
    one = client.Client.connect(autostart=False, answer_s=answer_s)
    if one.mode != "daemon":
        raise NoDaemonError("no ckptd runs", hint="start it with `ckptd start`")
    return one


def status() -> dict[str, Any]:
    """What the daemon says of itself. Raises NoDaemonError, and DaemonError for one that does not answer in time."""
    note = client.daemon_note()
    if note is None:
        raise NoDaemonError("no ckptd runs", hint="start it with `ckptd start`")
    try:
        with running(answer_s=ANSWER_S) as one:
            answer: dict[str, Any] = one.get("/v1/status")
    except NoDaemonError:
        raise
    except DaemonError as error:
        if not isinstance(error.__cause__, TimeoutError):
            raise
        pid = note.get("pid")
        raise DaemonError(
            f"ckptd (process {printable(str(pid))}) does not answer within {ANSWER_S:g} s", hint=_how_to_end(pid)
        ) from error
    return answer


def stop() -> int | None:
    """Ends the daemon and waits until it is gone; returns its process id, None when none ran.

    Raises DaemonError, with the command that ends it at once, for one that does not end.
    """
    lifecycle.need_posix()
    note = client.daemon_note()
    if note is None:
        return None
    pid = note.get("pid")
    lock = FileLock(StatePaths.here().lock)
    _ask_to_end(pid, lock.path)
    began = time.monotonic()
    while time.monotonic() - began < STOP_S:
        if lock.is_free() or lock.holder().get("pid") != pid:
            _await_exit(pid)
            return pid if isinstance(pid, int) else 0
        if time.monotonic() - began > _HELD_UP_S and _is_held_up(pid):
            raise DaemonError(
                f"ckptd (process {pid}) was stopped by a signal and cannot end",
                hint=f"`kill -CONT {pid}` lets it go on and end; {_how_to_end(pid)}",
            )
        time.sleep(0.02)
    raise DaemonError(
        f"ckptd (process {printable(str(pid))}) did not end within {STOP_S:g} s",
        hint=f"it may be finishing an act; {_how_to_end(pid)}",
    )


def _await_exit(pid: Any) -> None:
    """Waits a moment for a process that has given its lock back: its last act is its exit."""
    for _ in range(_EXIT_TRIES):
        try:
            os.kill(pid, 0)
        except (OSError, TypeError, OverflowError):
            return
        time.sleep(0.02)


def _options(paths: Sequence[str]) -> list[str]:
    return [part for path in paths for part in ("--watch", path)]


def _spawn(call: Sequence[str], errors_to: Path) -> subprocess.Popen[bytes]:
    """A process of its own: session, directory, descriptors and environment are not the caller's."""
    try:
        errors_to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        errors = open(errors_to, "wb", opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115
    except OSError as error:
        raise OperationError(
            f"{errors_to} cannot be written: {error.strerror}", hint="set CKPTD_STATE_HOME to a directory of your own"
        ) from error
    with errors:
        return subprocess.Popen(
            call,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            close_fds=True,
            cwd="/",
            umask=0o077,
            env=environment.for_daemon(os.environ),
        )


def _watch_too(paths: Sequence[str]) -> None:
    with running() as one:
        for path in paths:
            one.post("/v1/roots", {"path": path, "keep": False})


def _ask_to_end(pid: Any, lock: Path) -> None:
    """By its socket, and where that fails by a signal; never a process that only has the number of an earlier one."""
    with contextlib.suppress(CkptError, OSError), running(answer_s=_ASKING_S) as one:
        one.post("/v1/stop")
        return
    if isinstance(pid, int) and _has_open(pid, lock):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)


def _has_open(pid: int, path: Path) -> bool:
    """Whether a process has a file open; True where the system does not tell."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as listing:
            descriptors = list(listing)
    except FileNotFoundError:
        return not os.path.isdir("/proc/self/fd")
    except OSError:
        return True
    for one in descriptors:
        with contextlib.suppress(OSError):
            if os.path.samefile(one.path, path):
                return True
    return False


def _is_held_up(pid: Any) -> bool:
    """Whether a process was stopped by a signal or a debugger; False where the system does not tell."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def _how_to_end(pid: Any) -> str:
    return (
        f"`kill -KILL {printable(str(pid))}` ends it at once, and what was under way is finished or taken back at the "
        "next start"
    )
