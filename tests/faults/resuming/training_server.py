"""Trainings to be had: `python training_server.py SOCKET`.

Every connection is one training in a process and a process group of its own, forked from one that has imported torch
already. The test sends one line of JSON with the arguments of `train`, and gets the process's id, and at the end
`ended` or what went wrong. The connection closes when the last process of the training is gone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback

import torch
from trainings import train

from forking import forked


def serve(connection: socket.socket) -> int:
    """One training; its exit code."""
    os.setsid()
    with connection.makefile("r") as asking:
        asked = json.loads(asking.readline())
    os.environ.update(asked.pop("environment"))
    connection.sendall(f"{os.getpid()}\n".encode())
    try:
        train(**asked)
    except BaseException:  # noqa: BLE001
        connection.sendall(traceback.format_exc().encode())
        return 1
    connection.sendall(b"ended")
    return 0


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # imports a second's worth
    code = serve(forked(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
