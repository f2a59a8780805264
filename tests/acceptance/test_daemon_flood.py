"""A real daemon under floods of clients, without file descriptors, and with clients that are stopped."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.client import Client, daemon_note
from ckpt.exceptions import CkptError, UsageError
from ckptd.serving.connections import CONNECTIONS_MAX

DESCRIPTORS = 400


def until(check: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(CkptError):
            if found := check():
                return found
        time.sleep(0.02)
    raise AssertionError(f"{check} never came true")


class Flooded:
    def __init__(self, base: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ckptd", "run", "--watch", str(base)],
                stdin=subprocess.DEVNULL,
                stderr=errors,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
            )
        until(lambda: (daemon_note() or {}).get("pid") == self.process.pid)
        self.client = Client.connect(autostart=False)
        self.path = self.client.get("/v1/status")["daemon"]["socket"]

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(20)
        # A full queue refuses at once; that takes no descriptor of the daemon's either.
        with contextlib.suppress(BlockingIOError):
            connection.connect(self.path)
        return connection

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@pytest.fixture
def flooded(runs: Any, tmp_path: Path) -> Iterator[Flooded]:
    runs.base.mkdir(parents=True)
    made = Flooded(runs.base, tmp_path / "log")
    try:
        yield made
    finally:
        made.client.close()
        made.process.terminate()
        made.process.wait(20)


def test_silent_floods_lock_nobody_out_and_take_no_descriptors_from_the_look_at_the_disk(
    flooded: Flooded, runs: Any
) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(DESCRIPTORS + 200):
            held.enter_context(flooded.connect())
        with Client.connect(autostart=False) as newcomer:
            assert newcomer.get("/v1/status")["daemon"]["errors"] == 0
        runs.run("exp1", checkpoints=1)
        until(lambda: flooded.client.get("/v1/runs")["runs"])
        assert len(os.listdir(f"/proc/{flooded.process.pid}/fd")) < DESCRIPTORS // 2


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir() or not hasattr(resource, "prlimit"), reason="needs Linux")
def test_without_descriptors_it_waits_quietly_and_goes_on(flooded: Flooded) -> None:
    pid = flooded.process.pid
    flooded.client.get("/v1/runs")
    with contextlib.ExitStack() as held:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (flooded.descriptors(), DESCRIPTORS))
        for _ in range(50):
            held.enter_context(flooded.connect()).sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: b"no connection can be accepted" in flooded.log.read_bytes())
        before = flooded.cpu_s()
        time.sleep(2)
        assert flooded.cpu_s() - before < 1.0
        # Who is connected already is still served.
        assert flooded.client.get("/v1/status")["daemon"]["pid"] == pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        with Client.connect(autostart=False) as newcomer:
            until(lambda: newcomer.get("/v1/status")["daemon"]["pid"] == pid)
    assert flooded.log.read_bytes().count(b"no connection can be accepted") < 20


def test_a_stopped_listener_costs_nothing_and_hears_everything_when_it_goes_on(
    flooded: Flooded, runs: Any, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    code = (
        "import sys\nfrom ckpt.client import Client\n"
        f"with Client.connect(autostart=False) as client, open({str(heard)!r}, 'w', buffering=1) as out:\n"
        "    for event in client.events(since=int(sys.argv[1])):\n"
        "        out.write(f\"{event['seq']} {event['kind']} {event.get('text')}\\n\")\n"
    )
    runs.run("exp1", checkpoints=1)
    until(lambda: flooded.client.get("/v1/resolve", ref="exp1"))
    since = flooded.client.get("/v1/status")["daemon"]["seq"]
    listener = subprocess.Popen([sys.executable, "-c", code, str(since)])
    try:
        flooded.client.post("/v1/marks", {"ref": "exp1", "kind": "note", "text": "first"})
        until(lambda: heard.exists() and "first" in heard.read_text())
        listener.send_signal(signal.SIGSTOP)
        rss = flooded.client.get("/v1/status")["daemon"]["rss"]
        for number in range(300):
            flooded.client.post("/v1/marks", {"ref": "exp1", "kind": "note", "text": f"{number} " + "x" * 5000})
        assert flooded.client.get("/v1/status")["daemon"]["rss"] - rss < (64 << 20)
        listener.send_signal(signal.SIGCONT)
        until(lambda: " 299 " in heard.read_text())
    finally:
        listener.kill()
        listener.wait(20)
    numbers = [int(line.split()[0]) for line in heard.read_text().splitlines()]
    told = [event["seq"] for event in flooded.client.get("/v1/events", since=since, follow=0)["events"]]
    assert numbers == told[: len(numbers)]
    assert len(numbers) > 300


def test_listeners_that_are_dead_are_forgotten(flooded: Flooded) -> None:
    for _ in range(CONNECTIONS_MAX):
        with flooded.connect() as connection:
            connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: flooded.descriptors() < 40)
    with Client.connect(autostart=False) as newcomer:
        assert newcomer.get("/v1/status")["daemon"]["errors"] == 0, flooded.log.read_text()[:5000]


def test_an_event_number_beyond_all_numbers_is_wrong_usage(flooded: Flooded) -> None:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = flooded.connect()
    with contextlib.closing(connection):
        connection.request("GET", "/v1/events?since=" + "9" * 5000)
        assert connection.getresponse().status == 400
    with pytest.raises(UsageError, match="out of range"):
        flooded.client.get("/v1/events", since=1 << 80, follow=0)
