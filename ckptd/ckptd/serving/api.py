"""The service as an ASGI application: JSON in, JSON out, and events as a stream.

An error of ours answers with its own JSON and a status: 400 address or usage, 403 another user, 404 no such page,
405 no such method, 408 too slow, 409 locked, a plan that is out of date, or a key that stands for something else,
413 too large, 503 not yet, 500 the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ckpt import encoding, protocol
from ckpt.exceptions import CkptError, LockedError, OperationError, UsageError
from ckptd.events import Events
from ckptd.keeping.planning import Outdated
from ckptd.serving.requests import BadFraming, TooLarge, TooSlow, read_object, refuse_body
from ckptd.serving.service import NoSuchPage, Service
from ckptd.serving.streaming import EventStream

Answer = TypeVar("Answer")

log = logging.getLogger("ckptd.api")
FIRST_LOOK_S = 60.0
"""Seconds that a page waits for the first look at the disk."""
AT_ONCE = frozenset({"/v1/status", "/v1/stop", "/v1/events", "/v1/roots"})
"""Pages that do not wait for it."""
LONG = frozenset(
    {"/v1/rescan", "/v1/reload", "/v1/roots", "/v1/roots/remove", "/v1/apply", "/v1/trash/restore", "/v1/trash/purge"}
)
"""Changes that may take long, and so have threads of their own."""


@dataclass
class Activity:
    """Who is there: for the end of an idle daemon."""

    last: float = field(default_factory=time.monotonic)
    streams: int = 0
    requests: int = 0

    def idle_s(self) -> float:
        """Seconds since the last request; 0 while somebody listens to events or waits for an answer."""
        return 0.0 if self.streams or self.requests else time.monotonic() - self.last


class Api:
    """Handlers over a service.

    Everything that may block runs in threads, of which each kind of page has its own: however many long changes wait
    for each other, a read finds a thread, and so does the question how the daemon fares.
    """

    def __init__(
        self, service: Service, events: Events, activity: Activity, *, ready: asyncio.Event, ending: asyncio.Event
    ) -> None:
        self._service = service
        self._events = events
        self._activity = activity
        self._ready = ready
        self._ending = ending
        self._threads = {
            kind: ThreadPoolExecutor(threads, thread_name_prefix=f"ckptd-{kind}")
            for kind, threads in (("status", 2), ("read", 4), ("change", 2), ("long", 2))
        }

    def app(self) -> ASGIApp:
        """The application."""
        return self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self._activity.requests += 1
        try:
            answer = await self._answer(request)
        finally:
            self._activity.requests -= 1
            self._activity.last = time.monotonic()
        streams = isinstance(answer, EventStream)
        self._activity.streams += streams
        try:
            await answer(scope, receive, send)
        finally:
            self._activity.streams -= streams
            self._activity.last = time.monotonic()

    async def _answer(self, request: Request) -> Response | EventStream:
        try:
            return await self._dispatch(request)
        except CkptError as error:
            return _failure(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except OSError as error:
            log.warning("%s %s failed: %s", request.method, encoding.printable(request.scope["path"]), error)
            where = f"{encoding.printable(str(error.filename))}: " if error.filename else ""
            return _failure(OperationError(f"{where}{error.strerror or error}", hint="see the daemon's log"))
        except Exception as error:
            log.exception("%s %s failed", request.method, encoding.printable(request.scope["path"]))
            return _failure(OperationError(f"the daemon failed: {error!r}", hint="see the daemon's log"))

    async def _dispatch(self, request: Request) -> Response | EventStream:
        scope, method = request.scope, request.method
        # Root is let in, and the socket's mode keeps the others out; this is for a mode that somebody changed.
        if not scope.get("state", {}).get("peer_allowed", False):
            raise _AnotherUser("the daemon serves only the user that started it")
        path, query = scope["path"], scope["query_string"].decode("latin-1")
        if method == "GET":
            refuse_body(request)
            await self._wait_for_look(path)
            if path == "/v1/events" and request.query_params.get("follow") != "0":
                return self._stream(request)
            target = f"{path}?{query}" if query else path
            return _json(await self._in_thread("status" if path in AT_ONCE else "read", self._service.get_json, target))
        if method == "POST":
            body = await read_object(request)
            await self._wait_for_look(path)
            kind = "status" if path == "/v1/stop" else "long" if path in LONG else "change"
            return _json(protocol.encode(await self._in_thread(kind, self._service.post, path, body)))
        raise _NoSuchMethod(f"{encoding.printable(method)} is not used here", hint="reads are GET, changes are POST")

    async def _in_thread(self, kind: str, act: Callable[..., Answer], *arguments: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads[kind], act, *arguments)

    async def _wait_for_look(self, path: str) -> None:
        if path in AT_ONCE or self._ready.is_set():
            return
        waiting = [asyncio.create_task(event.wait()) for event in (self._ready, self._ending)]
        try:
            await asyncio.wait(waiting, timeout=FIRST_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if self._ending.is_set():
            raise _NotYet("the daemon is ending", hint="start it again with `ckptd start`")
        if not self._ready.is_set():
            runs, checkpoints = self._service.known()
            raise _NotYet(
                f"the first look at the disk is not finished: {runs} runs with {checkpoints} checkpoints so far",
                hint="ask again; `ckptd status` answers meanwhile",
            )

    def _stream(self, request: Request) -> EventStream:
        text = request.query_params.get("since") or request.headers.get("last-event-id")
        if text is not None and not (text.isdecimal() and len(text) < 19):
            raise UsageError(f"since is a whole number, not '{encoding.printable(text[:100])}'")
        since = self._events.seq if text is None else int(text)
        return EventStream(self._events, since, self._ending)


class _AnotherUser(UsageError):
    pass


class _NoSuchMethod(UsageError):
    pass


class _NotYet(OperationError):
    pass


_STATUS: tuple[tuple[type[CkptError], int], ...] = (
    (_AnotherUser, 403),
    (NoSuchPage, 404),
    (_NoSuchMethod, 405),
    (TooSlow, 408),
    (LockedError, 409),
    (Outdated, 409),
    (TooLarge, 413),
    (_NotYet, 503),
)
_LAST_WORDS = (BadFraming, TooSlow, TooLarge, _AnotherUser)
"""Errors after which the connection is closed: what else comes on it is the rest of a request that was refused."""


def _failure(error: CkptError) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400 if error.exit_code == 2 else 500)
    response = _json(protocol.encode(protocol.error_to_json(error)), status)
    if isinstance(error, _LAST_WORDS):
        response.headers["connection"] = "close"
    if status == 405:
        response.headers["allow"] = "GET, POST"
    return response


def _json(data: bytes, status: int = 200) -> Response:
    return Response(data, status_code=status, media_type="application/json")
