"""What a service manager hears, on a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptd.process.notify import Notify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")


@pytest.fixture
def manager(own_places: Path) -> Iterator[socket.socket]:
    """A manager's socket."""
    own_places.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(own_places / "notify"))
        one.settimeout(10)
        yield one


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(manager.getsockname()), **more}


def test_each_message_arrives_as_the_protocol_says(manager: socket.socket) -> None:
    notify = Notify(environment(manager))
    for act, said in (
        (notify.ready, "READY=1"),
        (lambda: notify.status("watching 3 roots"), "STATUS=watching 3 roots"),
        (notify.watchdog, "WATCHDOG=1"),
        (notify.stopping, "STOPPING=1"),
        (lambda: notify.extend(1.5), "EXTEND_TIMEOUT_USEC=1500000"),
    ):
        act()
        assert manager.recv(1000).decode() == said


def test_a_reload_carries_the_monotonic_time(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    Notify(environment(manager)).reloading()
    first, second = manager.recv(1000).decode().split("\n")
    name, _, value = second.partition("=")
    assert (first, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_a_name_in_a_status_cannot_add_a_message(manager: socket.socket) -> None:
    Notify(environment(manager)).status("runs/a\nMAINPID=1 \udcff")
    assert manager.recv(1000) == b"STATUS=runs/a\\x0aMAINPID=1 \\xff"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets are Linux's")
def test_abstract_sockets() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(f"\0ckptd-test-{os.getpid()}")
        one.settimeout(10)
        Notify({"NOTIFY_SOCKET": f"@ckptd-test-{os.getpid()}"}).ready()
        assert one.recv(100) == b"READY=1"


@pytest.mark.parametrize("named", ["", "/nowhere/notify", "vsock:2:1234", "relative", "/" + "x" * 300, "@" + "x" * 300])
def test_nobody_to_tell_is_no_error(named: str) -> None:
    notify = Notify({"NOTIFY_SOCKET": named, "WATCHDOG_USEC": "1000000"} if named else {})
    notify.ready()
    notify.status("x" * 1_000_000)
    notify.extend(1)


def test_a_manager_that_does_not_read_holds_up_nobody(manager: socket.socket) -> None:
    notify = Notify(environment(manager))
    for _ in range(5000):  # far more than a socket's queue holds
        notify.watchdog()
    assert manager.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_a_period_when_it_is_meant_for_us(
    manager: socket.socket, told: dict[str, str], seconds: float | None
) -> None:
    assert Notify(environment(manager, **told)).interval_s == seconds


def test_children_do_not_inherit_the_managers_variables(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(manager, WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid())).items():
        monkeypatch.setenv(name, value)
    notify = Notify()
    code = "import os; print([n for n in ('NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID') if n in os.environ])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    notify.ready()
    assert manager.recv(100) == b"READY=1"


def test_a_real_daemon_tells_its_manager_what_it_does(manager: socket.socket) -> None:
    def hear(wanted: bytes) -> None:
        deadline = time.monotonic() + 60
        while not manager.recv(1000).startswith(wanted):
            assert time.monotonic() < deadline, wanted

    manager.settimeout(60)
    variables = {**os.environ, **environment(manager, WATCHDOG_USEC="400000")}
    with subprocess.Popen([sys.executable, "-m", "ckptd", "run"], env=variables, stderr=subprocess.DEVNULL) as daemon:
        try:
            hear(b"READY=1")
            hear(b"STATUS=")
            hear(b"WATCHDOG=1")
            daemon.send_signal(signal.SIGHUP)
            hear(b"RELOADING=1")
            hear(b"READY=1")
            # At once after the reload, which has asked for a full look.
            daemon.terminate()
            hear(b"STOPPING=1")
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()
