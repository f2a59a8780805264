"""The service as an ASGI application: JSON in, JSON out, and events as a stream.

An error of ours answers with its own JSON and a status: 400 address or usage, 403 another user, 404 no such page,
405 no such method, 409 locked, 413 too large, 500 the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ckpt import encoding, protocol
from ckpt.exceptions import CkptError, LockedError, OperationError, UsageError
from ckptd.events import Events
from ckptd.service import NoSuchPage, Service

log = logging.getLogger("ckptd.api")
BODY_MAX = 1 << 20  # bytes
HEARTBEAT_S = 15.0
_BODY_S = 20.0  # a request that takes longer to arrive is given up
_FIRST_LOOK_S = 60.0
_WITHOUT_LOOK = frozenset({"/v1/status", "/v1/stop", "/v1/events", "/v1/roots"})
"""Pages that do not wait for the first look at the disk."""


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
    """Handlers over a service; everything that may block runs in threads."""

    def __init__(
        self, service: Service, events: Events, activity: Activity, *, ready: asyncio.Event, ending: asyncio.Event
    ) -> None:
        self._service = service
        self._events = events
        self._activity = activity
        self._ready = ready
        self._ending = ending

    def app(self) -> ASGIApp:
        """The application."""
        routes = [Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])]
        return _OnlyThisUser(Starlette(routes=routes))

    async def _answer(self, request: Request) -> Response:
        self._activity.requests += 1
        try:
            return await self._dispatch(request)
        except CkptError as error:
            return _failure(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.url.path)
            return _failure(OperationError(f"the daemon failed: {error!r}", hint="see the daemon's log"))
        finally:
            self._activity.requests -= 1
            self._activity.last = time.monotonic()

    async def _dispatch(self, request: Request) -> Response:
        path = request.url.path
        if path not in _WITHOUT_LOOK and not self._ready.is_set():
            try:
                await asyncio.wait_for(self._ready.wait(), _FIRST_LOOK_S)
            except TimeoutError:
                raise OperationError("the first look at the disk is not finished", hint="see `ckptd status`") from None
        if request.method == "GET":
            query = request.url.query
            if path == "/v1/events" and request.query_params.get("follow") != "0":
                return await self._stream(request)
            answer = await asyncio.to_thread(self._service.get, f"{path}?{query}" if query else path)
        elif request.method == "POST":
            body = await asyncio.wait_for(_body(request), _BODY_S)
            answer = await asyncio.to_thread(self._service.post, path, body)
        else:
            raise _NoSuchMethod(f"{request.method} is not used here", hint="reads are GET, changes are POST")
        return _json(answer)

    async def _stream(self, request: Request) -> Response:
        text = request.query_params.get("since") or request.headers.get("last-event-id")
        if text is not None and not (text.isdecimal() and len(text) < 19):
            raise UsageError(f"since is a whole number, not '{encoding.printable(text)}'")
        since = self._events.seq if text is None else int(text)
        return StreamingResponse(
            self._lines(since), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def _lines(self, since: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()
        stop = self._events.listen(_waker(loop, news))
        self._activity.streams += 1
        ending = asyncio.create_task(self._ending.wait())
        try:
            yield f"id: {since}\n\n".encode()
            while not self._ending.is_set():
                news.clear()
                for event in self._events.since(since):
                    since = event["seq"]
                    yield f"id: {since}\nevent: {event['kind']}\ndata: ".encode() + protocol.encode(event) + b"\n\n"
                waiting = asyncio.create_task(news.wait())
                done, _ = await asyncio.wait(
                    {waiting, ending}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                waiting.cancel()
                if not done:
                    yield b": still here\n\n"
        finally:
            ending.cancel()
            stop()
            self._activity.streams -= 1
            self._activity.last = time.monotonic()


def _waker(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> Callable[[], None]:
    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(news.set)

    return wake


async def _body(request: Request) -> dict[str, Any]:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BODY_MAX:
        raise _TooLarge(f"a request may have {BODY_MAX} bytes")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_MAX:
            raise _TooLarge(f"a request may have {BODY_MAX} bytes")
    try:
        body = encoding.loads(data or b"{}")
    except ValueError as error:
        raise UsageError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise UsageError("the body has to be a JSON object")
    return body


class _TooLarge(UsageError):
    pass


class _NoSuchMethod(UsageError):
    pass


def _failure(error: CkptError) -> Response:
    if isinstance(error, NoSuchPage):
        status = 404
    elif isinstance(error, _NoSuchMethod):
        status = 405
    elif isinstance(error, _TooLarge):
        status = 413
    elif isinstance(error, LockedError):
        status = 409
    else:
        status = 400 if error.exit_code == 2 else 500
    answer = protocol.error_to_json(error)
    if isinstance(error, NoSuchPage | _NoSuchMethod | _TooLarge):
        answer["error"]["kind"] = "UsageError"
    return _json(answer, status)


def _json(value: Any, status: int = 200) -> Response:
    return Response(protocol.encode(value), status_code=status, media_type="application/json")


class _OnlyThisUser:
    """Refuses peers of other users; the socket's mode does so already, root's included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope.get("state", {}).get("peer_allowed", False):
            refusal = _json(protocol.error_to_json(UsageError("the daemon serves only the user that started it")), 403)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
