"""Processes forked from one that has imported torch already, as that takes seconds: one for each connection."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 120.0


@contextlib.contextmanager
def forks_of(script: Path, base: Path) -> Iterator[str]:
    """The address of a script that does what it does in `forked(sys.argv[1])`, as long as the block.

    `base` is a directory with a short path. The script is killed at the end, and what it said is printed.
    """
    address, said = base / "forks", base / "said.log"
    parts = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": parts}
    command = [sys.executable, str(script), str(address)]
    with said.open("w") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not address.exists():
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.01)
        yield str(address)
    finally:
        process.kill()
        process.wait()
        print(said.read_text()[-4000:])


def forked(address: str) -> socket.socket:
    """Listens at an address, and returns in a process of its own for every connection, with that."""
    ignored = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes the dead away
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{address}.new")
        listening.listen()
        os.rename(f"{address}.new", address)
        while True:
            connection = listening.accept()[0]
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, ignored)
                return connection
            connection.close()
