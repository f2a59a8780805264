"""HTTP/1.1 on a socket that we bound ourselves, in our own loop, with signals left to us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

KEEP_ALIVE_S = 75
DRAIN_S = 5
CONNECTIONS_MAX = 128
"""Connections at a time; more would take the file descriptors that looking at the disk needs."""
BACKLOG = 128
"""Connections that are accepted in one go, before any of them can be refused."""


class PeerProtocol(H11Protocol):
    """Puts into each request's state whether its sender may talk to us (`peer_allowed`, `peer_uid`)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
        uid = peer_uid(transport.get_extra_info("socket"))
        # Root may read everything anyway; where the system does not tell, the socket's mode has to do.
        allowed = uid is None or uid in (os.getuid(), 0)
        self.app_state = {**self.app_state, "peer_uid": uid, "peer_allowed": allowed}


def peer_uid(connection: Any) -> int | None:
    """User id of the process at the other end as of its connect; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or connection is None:
        return None
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    except OSError:
        return None
    _, uid, _ = struct.unpack("3i", raw)
    return int(uid)


class Server(uvicorn.Server):
    """Serves until `ending` is set; installs no signal handlers and wakes for nothing while idle."""

    def __init__(self, app: ASGIApp, ending: asyncio.Event) -> None:
        config = uvicorn.Config(
            app,
            http=PeerProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            h11_max_incomplete_event_size=64 << 10,
        )
        super().__init__(config)
        self._ending = ending

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield

    async def main_loop(self) -> None:
        """Waits for the end instead of looking ten times a second."""
        await self._ending.wait()
        self.should_exit = True
