"""run.lock as a training takes it: the daemon holds it for moments, another training for its life."""

from __future__ import annotations

import os
import socket
import sys
import time

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import LockedError
from ckpt.paths import PRUNER

PRUNER_WAIT_S = 5.0


def acquire(lock: files.FileLock, name: str) -> None:
    """Takes a run's lock, waiting only for the daemon. Raises LockedError, naming the process that holds it."""
    deadline = time.monotonic() + PRUNER_WAIT_S
    while True:
        try:
            lock.acquire({"pid": os.getpid(), "host": socket.gethostname(), "program": os.path.basename(sys.argv[0])})
            return
        except LockedError:
            holder = lock.holder()
            if holder.get("program") != PRUNER or time.monotonic() >= deadline:
                where = f" on {holder['host']}" if holder.get("host") else ""
                raise LockedError(
                    f"run '{printable(name)}' is held by process {holder.get('pid', 'unknown')}{where}",
                    hint="wait until it ends, or fork the run",
                ) from None
        time.sleep(0.05)
