"""The stream of events to one listener, for as long as it is there and the daemon lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from ckpt import protocol
from ckptd.events import Events

HEARTBEAT_S = 15.0
_BATCH = 200  # events that are sent in one go


class EventStream:
    """An ASGI answer: server-sent events after a number.

    While the listener does not read, this stands still, and nothing is kept for it: what it misses lies with the
    events, and when it is forgotten there, it is told so.
    """

    def __init__(self, events: Events, since: int, ending: asyncio.Event) -> None:
        self._events = events
        self._since = since
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the listener has gone or the daemon ends."""
        news = asyncio.Event()
        stop = self._events.listen(_waker(asyncio.get_running_loop(), news))
        over = [asyncio.create_task(_until_gone(receive)), asyncio.create_task(_until_set(self._ending))]
        for task in over:
            task.add_done_callback(lambda _: news.set())
        try:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _send(send, f"id: {self._since}\n\n".encode())
            while not any(task.done() for task in over):
                news.clear()
                if events := self._events.since(self._since, limit=_BATCH):
                    self._since = events[-1]["seq"]
                    await _send(send, b"".join(map(_told, events)))
                    continue
                try:
                    await asyncio.wait_for(news.wait(), HEARTBEAT_S)
                except TimeoutError:
                    await _send(send, b": still here\n\n")
            await _send(send, b"", more=False)
        finally:
            stop()
            for task in over:
                task.cancel()


async def _send(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until_set(event: asyncio.Event) -> None:
    await event.wait()


def _told(event: dict[str, Any]) -> bytes:
    return f"id: {event['seq']}\nevent: {event['kind']}\ndata: ".encode() + protocol.encode(event) + b"\n\n"


def _waker(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> Callable[[], None]:
    """Sets `news` from any thread; many events that come before the loop turns wake it once."""
    woken = False

    def tell() -> None:
        nonlocal woken
        woken = False
        news.set()

    def wake() -> None:
        nonlocal woken
        if not woken and not loop.is_closed():
            woken = True
            loop.call_soon_threadsafe(tell)

    return wake
