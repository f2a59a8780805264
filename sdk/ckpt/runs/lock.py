"""run.lock as a training takes it: the daemon holds it for moments, another training for its life.

A training that was killed leaves it held for a while: its writer finishes the checkpoint that it was given.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from typing import Any

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import LockedError
from ckpt.paths import PRUNER

log = logging.getLogger("ckpt.runs")

PRUNER_WAIT_S = 5.0
ENDED_WAIT_S = 30.0


def acquire(lock: files.FileLock, name: str) -> None:
    """Takes a run's lock, waiting for the daemon and for what is left of a training that has ended.

    Raises LockedError that says who holds it.
    """
    begun, told = time.monotonic(), False
    while True:
        try:
            lock.acquire({"pid": os.getpid(), "host": socket.gethostname(), "program": os.path.basename(sys.argv[0])})
            return
        except LockedError:
            holder = lock.holder()
            ended = _has_ended(holder)
            patience_s = PRUNER_WAIT_S if holder.get("program") == PRUNER else ENDED_WAIT_S if ended else 0.0
            if lock.held_beside or time.monotonic() - begun >= patience_s:
                raise _refused(lock, name, holder, ended) from None
        if ended and not told:
            told = True
            log.warning(
                "run %s: its last training, process %s, has ended; its writer is finishing a checkpoint, "
                "which is waited for up to %g s",
                printable(name),
                holder["pid"],
                ENDED_WAIT_S,
            )
        time.sleep(0.05)


def _refused(lock: files.FileLock, name: str, holder: dict[str, Any], ended: bool) -> LockedError:
    run, pid = f"run '{printable(name)}'", holder.get("pid", "unknown")
    if lock.held_beside:
        return LockedError(
            f"this process (pid {pid}) trains {run} already, through another hook or Run",
            hint="close() that one first",
        )
    if ended:
        return LockedError(
            f"{run} is still held, though its training in process {pid} has ended: its writer, or another process that "
            "it started, goes on",
            hint="wait until that ends, or fork the run",
        )
    where = f" on {holder['host']}" if holder.get("host") else ""
    return LockedError(f"{run} is held by process {pid}{where}", hint="wait until it ends, or fork the run")


def _has_ended(holder: dict[str, Any]) -> bool:
    """Whether the process that took the lock is no more, as far as this machine can know."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    return pid == os.getpid() or not files.pid_alive(pid)
