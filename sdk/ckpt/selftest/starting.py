"""One start of a training: in bounded time, with what it says kept, and nothing of it left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ckpt import files
from ckpt.records import Record
from ckpt.runs.redirecting import VARIABLE
from ckpt.selftest.commands import Command
from ckpt.selftest.plan import Plan, write_plan

_TAIL = 20  # lines
_TAIL_BYTES = 16384
_WIDEST = 300  # characters of a line
_CLEAN_S = 10.0
_TRACKER_S = 2.0


class Ended(Record, frozen=True, kw_only=True):
    """How a start of the training ended."""

    code: int | None
    """Exit code, negative for a signal; None when its time was up."""
    tail: str
    """The last lines of what it printed."""


def start(command: Command, plan: Plan, private: Path, timeout_s: float) -> Ended:
    """Runs a training until it ends, or until its time is up, and ends all that it started.

    Everything that it makes of runs, and all that it tells a daemon, goes into the directory `private`. Raises OSError
    when it cannot be started.
    """
    path = private / "plan.json"
    write_plan(path, plan)
    log = private / "output.txt"
    # What a killed training leaves in the directory of temporary files goes with the private one.
    temporary = private / "t"
    temporary.mkdir(exist_ok=True)
    env = {
        **os.environ,
        VARIABLE: str(path),
        "CKPTD_STATE_HOME": str(private / "state"),
        "CKPTD_RUNTIME_DIR": str(private / "state"),
        "CKPTD_AUTOSTART": "0",
        "TMPDIR": str(temporary),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    code: int | None = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout_s)
    finally:
        _end_all(process, path)
    return Ended(code=code, tail=_tail(log))


def _end_all(process: subprocess.Popen[bytes], plan: Path) -> None:
    """Kills what is left of a start: the process, its group, and what left the group but still has the plan.

    What Python starts to remove the semaphores of workers that were killed is given the time to do so.
    """
    left = set(_started_with(plan))
    trackers = {pid for pid in left if _is_tracker(pid)}
    if trackers:
        _kill(pid for pid in _started_with(plan) if pid not in trackers)
        deadline = time.monotonic() + _TRACKER_S
        while any(map(files.pid_alive, trackers)) and time.monotonic() < deadline:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.poll() is None:
        process.kill()
        process.wait()
    deadline = time.monotonic() + _CLEAN_S
    while time.monotonic() < deadline:
        found = set(_started_with(plan))
        _kill(found)
        # One that is about to die has no environment any more, and is still there for a moment.
        left |= found
        if not any(map(files.pid_alive, left)):
            return
        time.sleep(0.02)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _is_tracker(pid: int) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return False


def _started_with(plan: Path) -> Iterator[int]:
    """Processes whose environment names the plan, where the system tells of environments."""
    mark = os.fsencode(f"{VARIABLE}={plan}")
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in Path("/proc", entry, "environ").read_bytes().split(b"\0") and files.pid_alive(int(entry)):
                    yield int(entry)


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
        text = stream.read().decode("utf-8", "backslashreplace")
    lines = text.rstrip().splitlines()[-_TAIL:]
    return "\n".join(line if len(line) <= _WIDEST else f"{line[:_WIDEST]} …" for line in lines)
