"""The server on a real socket, under clients that are slow, silent, wrong or too many."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptd.process.lifecycle import bind
from ckptd.serving import api, connections, requests
from ckptd.serving.server import Server


def until(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{check} never came true")


class Served:
    """A world behind a socket, in a thread of this process."""

    def __init__(self, world: Any, path: Path, *, ready: bool = True) -> None:
        self.world = world
        self.path = path
        self.activity = api.Activity()
        self._ready_at_once = ready
        self._up = threading.Event()
        self.problems: list[Any] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._up.wait(20)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda loop, context: self.problems.append(context))
        self._ready, self._ending = asyncio.Event(), asyncio.Event()
        if self._ready_at_once:
            self._ready.set()
        made = api.Api(
            self.world.service, self.world.events, self.activity, ready=self._ready, ending=self._ending
        ).app()
        self.server = Server(made, self._ending)
        listener = bind(self.path)
        serving = asyncio.create_task(self.server.serve(sockets=[listener]))
        while not self.server.started:
            await asyncio.sleep(0.01)
        self._up.set()
        await serving

    def look_done(self) -> None:
        self._loop.call_soon_threadsafe(self._ready.set)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.end()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.path))
        return connection

    def say(self, raw: bytes) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON that a new connection answers to raw bytes; status 0 when it only closes."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(raw)
            return read_answer(connection)

    def get(self, target: str) -> tuple[int, Any]:
        status, _, value = self.say(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return status, value

    def post(self, path: str, value: Any) -> tuple[int, Any]:
        status, _, answer = self.say(request(path, json.dumps(value).encode()))
        return status, answer


def request(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while b"\r\n\r\n" not in data and (chunk := connection.recv(65536)):
            data += chunk
    if not data:
        return 0, {}, None
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    with contextlib.suppress(ConnectionResetError):
        while len(body) < int(headers.get("content-length", 0)) and (chunk := connection.recv(65536)):
            body += chunk
    size = int(headers.get("content-length", 0))
    return int(first.split()[1]), headers, json.loads(body[:size]) if body else None


@pytest.fixture
def serve(world: Any, own_places: Path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(**options: Any) -> Served:
        made.append(Served(world, own_places / "run" / "s", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


# Mistakes

GARBAGE = [
    b"\x00" * 100_000,
    b"GET / HTTP/9\r\n\r\n",
    b"GET /v1/runs\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /v1/runs HTTP/1.1\r\n\r\n",
    b"GET /v1/r\x00uns HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /v1/marks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n",
    b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n",
    b"GET /v1/runs?" + b"a" * (300 << 10) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (300 << 10) + b"\r\n\r\n",
    b"HEAD /v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /v1/runs HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("raw", GARBAGE, ids=range(len(GARBAGE)))
def test_what_is_no_request_is_refused_and_hurts_nobody(
    served: Served, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with served.connect() as other:
        other.sendall(b"GET /v1/status HTTP/1.1\r\n")
        status, _, _ = served.say(raw)
        assert status == 0 or 400 <= status < 500
        other.sendall(b"Host: x\r\n\r\n")
        assert read_answer(other)[0] == 200
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert served.problems == []


def test_each_refusal_says_why(served: Served) -> None:
    assert served.say(GARBAGE[0])[2]["error"]["kind"] == "UsageError"
    assert served.say(GARBAGE[16])[0] == 431
    status, headers, _ = served.say(GARBAGE[-1])
    assert (status, headers["allow"]) == (405, "GET, POST")
    status, headers, value = served.say(GARBAGE[14])
    assert (status, headers["connection"]) == (413, "close")
    assert "1048576 bytes" in value["error"]["message"]
    status, value = served.get("/v1/nowhere")
    assert status == 404
    assert "/v1/runs" in value["error"]["hint"]
    status, value = served.get("/v1/runs?fliter=x")
    assert (status, value["error"]["hint"]) == (400, "it has: filter, sort, limit")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "JSON object"),
        (b"{", "not JSON"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"x": {"a": 1, "a": 2}}', "stands twice"),
        (b'{"plan": 1e999}', "not JSON"),
        (b'{"plan": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b'{"plan": "\xff"}', "not JSON"),
        (b'{"plan": "a\x00b"}', "not JSON"),
        (b'{"plan": NaN}', "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not JSON"),
        (b'{"plan": 3}', "'plan' has to be a text"),
        (b'{"plan": "x", "key": 3}', "'key' has to be a text"),
        (b'{"plan": "x", "key": "' + b"k" * 300 + b'"}', "'key' has to be a text"),
    ],
)
def test_bodies_that_cannot_be_taken(served: Served, body: bytes, said: str) -> None:
    status, _, value = served.say(request("/v1/apply", body))
    assert status == 400
    assert said in value["error"]["message"]


def test_old_http_pipelines_and_chunks_are_served(served: Served) -> None:
    assert served.say(b"GET /v1/roots HTTP/1.0\r\n\r\n")[0] == 200
    chunked = b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    status, _, value = served.say(chunked)
    assert (status, "running daemon" in value["error"]["message"]) == (400, True)
    upgrade = b"GET /v1/roots HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert served.say(upgrade)[0] == 200
    with served.connect() as connection:
        connection.sendall(b"GET /v1/roots HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _ in range(3):
            data = b""
            while not data.endswith(b'{"roots":[]}'):
                data += connection.recv(1)
        # Nonsense behind a good request does not take its answer away.
        connection.sendall(b"GET /v1/roots HTTP/1.1\r\nHost: x\r\n\r\n\x00\x00\x00\r\n\r\n")
        assert read_answer(connection)[0] == 200
    assert served.problems == []


# Slow clients


def test_headers_that_do_not_come_end_the_connection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with served.connect() as silent, served.connect() as slow:
        slow.sendall(b"GET /v1/ru")
        assert read_answer(silent)[0] == 0
        status, _, value = read_answer(slow)
        assert (status, "headers" in value["error"]["message"]) == (408, True)
    with served.connect() as kept:
        kept.sendall(b"GET /v1/roots HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(kept)[0] == 200
        time.sleep(0.5)
        # A connection that had a request may rest; a second one that is begun has to go on.
        kept.sendall(b"GET /v1/roots HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(kept)[0] == 200
        kept.sendall(b"G")
        assert read_answer(kept)[0] == 408


def test_a_body_that_trickles_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_S", 0.2)
    with served.connect() as slow:
        slow.sendall(b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        status, headers, value = read_answer(slow)
    assert (status, headers["connection"]) == (408, "close")
    assert "did not arrive" in value["error"]["message"]
    assert served.activity.requests == 0


def test_who_does_not_read_the_answer_is_dropped_and_who_reads_slowly_is_not(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 0.3)
    big = {"text": "x" * (4 << 20)}
    monkeypatch.setitem(served.world.service.reads, "/v1/status", lambda params: big)
    with served.connect() as asleep, served.connect() as slow:
        for one in (asleep, slow):
            one.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        while len(got) < (1 << 20):
            got += slow.recv(64 << 10)
            time.sleep(0.05)
        until(lambda: len(served.server.server_state.connections) == 1)
        while len(got) < (4 << 20):
            got += slow.recv(1 << 20)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while chunk := asleep.recv(1 << 20):
                received += len(chunk)
        assert received < (4 << 20)


def test_a_listener_that_sleeps_costs_nothing_and_hears_everything_later(served: Served) -> None:
    events = served.world.events
    since = events.seq
    with served.connect() as asleep:
        asleep.sendall(f"GET /v1/events?since={since} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: served.activity.streams == 1)
        for number in range(5000):
            events.emit("mark", "run", text="x" * 100, number=number)
        state = served.server.server_state
        until(lambda: next(iter(state.connections)).flow.write_paused)
        assert next(iter(state.connections)).transport.get_write_buffer_size() < 300_000
        assert served.get("/v1/status")[0] == 200
        data = b""
        while b'"number":4999' not in data[-4096:]:
            data += asleep.recv(1 << 20)
    numbers = [int(line[4:]) for line in data.decode().split("\n") if line.startswith("id: ")]
    assert numbers == list(range(since, since + 5001))
    until(lambda: served.activity.streams == 0)


def test_a_listener_that_slept_too_long_hears_of_the_gap(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    events = served.world.events
    since = events.seq
    with served.connect() as asleep:
        asleep.sendall(f"GET /v1/events?since={since} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: served.activity.streams == 1)
        for _ in range(30_000):
            events.emit("mark", "run", text="x" * 100)
        last, data = events.seq, b""
        while f"id: {last}\n".encode() not in data[-65536:]:
            data += asleep.recv(1 << 20)
    assert b"event: daemon.gap" in data


def test_the_end_waits_for_nobody_who_does_not_read(served: Served) -> None:
    with served.connect() as asleep:
        asleep.sendall(b"GET /v1/events?since=0 HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: served.activity.streams == 1)
        for _ in range(5000):
            served.world.events.emit("mark", "run", text="x" * 100)
        served.close()


# Too many


def test_silent_connections_make_room_for_new_ones(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 8)
    with contextlib.ExitStack() as held:
        first = held.enter_context(served.connect())
        first.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: served.activity.streams == 1)
        for _ in range(40):
            held.enter_context(served.connect()).sendall(b"GET /v1/ru")
        assert served.get("/v1/status")[0] == 200
        assert len(served.server.server_state.connections) <= 8
        # Who is being served is not sent away.
        assert served.activity.streams == 1


def test_beyond_the_limit_a_newcomer_is_refused_at_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 4)
    with contextlib.ExitStack() as held:
        for number in range(4):
            listener = held.enter_context(served.connect())
            listener.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda wanted=number + 1: served.activity.streams == wanted)
        status, headers, value = served.say(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (status, headers["connection"]) == (503, "close")
        assert "as many connections as it serves" in value["error"]["message"]
        listener.close()
        until(lambda: served.activity.streams == 3)
        assert served.get("/v1/status")[0] == 200


# While the daemon is at work


def test_before_the_first_look_pages_wait_and_tell_how_far_it_is(
    serve: Callable[..., Served], runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "FIRST_LOOK_S", 0.2)
    served = serve(ready=False)
    runs.run("exp1", checkpoints=2)
    served.world.roots.add(str(runs.base), "observe", [])
    served.world.scanner.full()
    status, value = served.get("/v1/runs")
    assert status == 503
    assert "1 runs with 2 checkpoints so far" in value["error"]["message"]
    for page in ("/v1/status", "/v1/roots", "/v1/events?follow=0"):
        assert served.get(page)[0] == 200
    monkeypatch.setattr(api, "FIRST_LOOK_S", 20)
    with served.connect() as waiting:
        waiting.sendall(b"GET /v1/runs HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: served.activity.requests == 1)
        served.look_done()
        assert read_answer(waiting)[0] == 200


def test_the_end_answers_those_who_wait_for_the_first_look(serve: Callable[..., Served]) -> None:
    served = serve(ready=False)
    with served.connect() as waiting:
        waiting.sendall(b"GET /v1/runs HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: served.activity.requests == 1)
        served.end()
        status, _, value = read_answer(waiting)
    assert (status, value["error"]["message"]) == (503, "the daemon is ending")


def test_long_changes_keep_neither_reads_nor_marks_waiting(
    served: Served, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.run("exp1", checkpoints=1)
    assert served.post("/v1/roots", {"path": str(runs.base)})[0] == 200
    go_on = threading.Event()
    begun: list[int] = []

    def long(body: Any) -> dict[str, Any]:
        begun.append(1)
        assert go_on.wait(20)
        return {}

    monkeypatch.setitem(served.world.service.changes, "/v1/rescan", long)
    with contextlib.ExitStack() as held:
        waiting = [held.enter_context(served.connect()) for _ in range(20)]
        try:
            for one in waiting:
                one.sendall(request("/v1/rescan", b"{}"))
            until(lambda: served.activity.requests == 20 and begun)
            assert served.get("/v1/runs")[0] == 200
            assert served.get("/v1/status")[0] == 200
            assert served.post("/v1/marks", {"ref": "exp1", "kind": "pin"})[0] == 200
        finally:
            go_on.set()
        assert [read_answer(one)[0] for one in waiting] == [200] * 20


def test_a_failure_of_ours_is_told_and_logged(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(params: Any) -> dict[str, Any]:
        raise RuntimeError("no luck")

    monkeypatch.setitem(served.world.service.reads, "/v1/roots", broken)
    status, value = served.get("/v1/roots")
    assert (status, value["error"]["kind"]) == (500, "OperationError")
    assert "no luck" in caplog.text
