"""HTTP/1.1 on a socket that we bound ourselves, in our own loop, with signals left to us."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from ckptd.serving.connections import HEAD_MAX, PeerProtocol

log = logging.getLogger("ckptd.server")
KEEP_ALIVE_S = 75
DRAIN_S = 5
ACCEPT_PAUSE_S = 0.2
"""Seconds between two tries to accept while the process has no file descriptor left."""


class Server(uvicorn.Server):
    """Serves until `ending` is set; installs no signal handlers and wakes for nothing while idle."""

    def __init__(self, app: ASGIApp, ending: asyncio.Event) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=PeerProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            h11_max_incomplete_event_size=HEAD_MAX,
        )
        super().__init__(config)
        self._ending = ending
        self._accepting: list[asyncio.Task[None]] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept on listening sockets."""
        self.servers = []
        self._accepting = [asyncio.create_task(self._accept(listener)) for listener in sockets or ()]
        self.started = True

    async def main_loop(self) -> None:
        """Waits for the end instead of looking ten times a second."""
        await self._ending.wait()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts no more, and lets answers that are under way be finished."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets=sockets)

    async def _accept(self, listener: socket.socket) -> None:
        """Accepts one connection after the other; without descriptors it waits, where asyncio's own loop only logs."""
        loop = asyncio.get_running_loop()
        short = False
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if not short:
                    log.warning("no connection can be accepted now: %s", error.strerror)
                short = True
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            short = False
            try:
                await loop.connect_accepted_socket(self._protocol, connection)
            except OSError as error:
                log.warning("a connection was lost as it was accepted: %s", error.strerror)
                connection.close()

    def _protocol(self) -> asyncio.Protocol:
        return PeerProtocol(self.config, self.server_state, self.lifespan.state)
