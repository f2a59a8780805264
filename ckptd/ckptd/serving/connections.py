"""One client's connection: who it is, how long it may keep others waiting, and how its mistakes are answered."""

from __future__ import annotations

import asyncio
import http
import os
import resource
import socket
import struct
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ckpt import protocol
from ckpt.exceptions import CkptError, DaemonError, UsageError

HEAD_S = 10.0
"""Seconds that the line and the headers of a request may take to arrive."""
HEAD_MAX = 64 << 10
"""Bytes that they may have."""
UNREAD_S = 30.0
"""Seconds in which a client has to read something of its answer."""
PARTING_S = 1.0
"""The same, once the daemon ends."""
CONNECTIONS_MAX = 128


def connections_allowed() -> int:
    """Connections at a time: few enough that looking at the disk keeps most of the process's file descriptors."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if limit == resource.RLIM_INFINITY else min(CONNECTIONS_MAX, max(8, limit // 4))


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


class PeerProtocol(H11Protocol):
    """HTTP/1.1 with one client.

    Each request's state says whether its sender may talk to us (`peer_allowed`, `peer_uid`). Of too many connections
    the one that has been without a request for longest makes room; when all have one, the newcomer is refused.
    """

    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _quiet_since = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a new client, in the place of a silent one where there are too many."""
        super().connection_made(transport)
        # Paused as soon as something is left unread: then its time runs, however little it is.
        transport.set_write_buffer_limits(high=0)
        self._quiet_since = self.loop.time()
        self._head = self.loop.call_later(HEAD_S, self._give_up_head)
        uid = peer_uid(transport.get_extra_info("socket"))
        # Root may read everything anyway; where the system does not tell, the socket's mode has to do.
        allowed = uid is None or uid in (os.getuid(), 0)
        self.app_state = {**self.app_state, "peer_uid": uid, "peer_allowed": allowed}
        if len(self.connections) > connections_allowed() and not self._make_room():
            hint = "close some: each `ckpt events --follow` and each dashboard holds one"
            self._part(503, DaemonError("the daemon has as many connections as it serves", hint=hint))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the client."""
        self._stop_head()
        self._stop_unread()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes; a request that has begun has to go on in time."""
        super().data_received(data)
        beginning = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if not beginning:
            self._stop_head()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_S, self._give_up_head)

    def on_response_complete(self) -> None:
        """The client is without a request again."""
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Something of the answer lies unread."""
        super().pause_writing()
        self._await_reading(UNREAD_S)

    def resume_writing(self) -> None:
        """All of it was read."""
        self._stop_unread()
        super().resume_writing()

    def shutdown(self) -> None:
        """The daemon ends: who does not read any more is not waited for."""
        super().shutdown()
        if self.flow.write_paused:
            self._await_reading(PARTING_S)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, unless an answer to something else is under way."""
        if self.busy and self.cycle.response_started:
            self.transport.abort()
        elif len(self.conn.trailing_data[0]) > HEAD_MAX:
            self._part(431, UsageError(f"the headers of a request may have {HEAD_MAX} bytes"))
        else:
            self._part(400, UsageError("this is no HTTP/1.1 request", hint="try: curl --unix-socket SOCKET URL"))

    def _should_upgrade(self) -> bool:
        # An offer of another protocol may be passed over; answering in this one is the refusal.
        return False

    def _make_room(self) -> bool:
        silent = [one for one in self.connections if isinstance(one, PeerProtocol) and one is not self and not one.busy]
        if not silent:
            return False
        oldest = min(silent, key=lambda one: one._quiet_since)
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up_head(self) -> None:
        self._head = None
        if self.conn.trailing_data[0]:
            self._part(408, UsageError(f"the headers did not arrive within {HEAD_S:g} s"))
        else:
            self.transport.close()

    def _await_reading(self, seconds: float) -> None:
        self._stop_unread()
        size = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(seconds, self._look_at_reading, size, seconds)

    def _look_at_reading(self, before: int, seconds: float) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._await_reading(seconds)
        else:
            self.transport.abort()

    def _part(self, status: int, error: CkptError) -> None:
        """Says why, past the state of the conversation, and ends it."""
        if self.busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = protocol.encode(protocol.error_to_json(error))
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
