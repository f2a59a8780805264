"""What a service manager is told: ready, alive, reloading, stopping (the datagrams of sd_notify)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

from ckpt.encoding import printable


class Notify:
    """Tells the manager that started this process. Silent without one; never raises and never waits.

    Takes the manager's variables out of the environment, so that children do not speak in this process's name.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = _address(environment.pop("NOTIFY_SOCKET", ""))
        period = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", "")
        self.interval_s: float | None = None
        """Seconds between two calls of `watchdog`, half of what the manager allows; None when it does not watch."""
        if self._address and period.isdecimal() and int(period) > 0 and meant in ("", str(os.getpid())):
            self.interval_s = int(period) / 2e6

    def ready(self) -> None:
        """The start, or a reload, is done."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for people, shown by `systemctl status`."""
        self._send(f"STATUS={printable(text)}")

    def watchdog(self) -> None:
        """Alive. The manager ends a process that does not say so in time."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def extend(self, seconds: float) -> None:
        """Asks for `seconds` more, from now, before a start or stop counts as failed."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.setblocking(False)
            one.sendto(message.encode(), self._address)


def _address(named: str) -> bytes:
    """The socket's address; empty for one that is neither a path nor in the abstract name space."""
    if named.startswith("@"):
        return b"\0" + os.fsencode(named[1:])
    return os.fsencode(named) if named.startswith("/") else b""
