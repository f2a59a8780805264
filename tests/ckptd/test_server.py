"""The server under clients that ask for too much; a daemon of few file descriptors."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ckpt.client import Client, daemon_note
from ckpt.exceptions import DaemonError, UsageError

DESCRIPTORS = 400


def limit_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


@pytest.fixture
def client(runs: Any) -> Iterator[Client]:
    runs.base.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "ckptd", "run", "--watch", str(runs.base)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=limit_descriptors,
    )
    try:
        deadline = time.monotonic() + 20
        while (daemon_note() or {}).get("pid") != process.pid and time.monotonic() < deadline:
            time.sleep(0.02)
        with Client.connect(autostart=False) as connected:
            yield connected
    finally:
        process.terminate()
        process.wait(20)


def unconnected() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5)
    return connection


def test_more_connections_than_allowed_take_no_descriptors_from_the_look_at_the_disk(client: Client, runs: Any) -> None:
    path = client.get("/v1/status")["daemon"]["socket"]
    with contextlib.ExitStack() as held:
        for _ in range(DESCRIPTORS + 200):
            connection = held.enter_context(unconnected())
            # A full queue refuses at once; that is no descriptor of the daemon's either.
            with contextlib.suppress(BlockingIOError):
                connection.connect(path)
        assert client.get("/v1/status")["daemon"]["errors"] == 0
        runs.run("exp1", checkpoints=1)
        deadline = time.monotonic() + 15
        while not client.get("/v1/runs")["runs"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(DaemonError), Client.connect(autostart=False) as stranger:
            stranger.get("/v1/status")


def test_an_event_number_beyond_all_numbers_is_wrong_usage(client: Client) -> None:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = unconnected()
    with contextlib.closing(connection):
        connection.sock.connect(client.get("/v1/status")["daemon"]["socket"])
        connection.request("GET", "/v1/events?since=" + "9" * 5000)
        assert connection.getresponse().status == 400
    with pytest.raises(UsageError, match="out of range"):
        client.get("/v1/events", since=1 << 80, follow=0)
