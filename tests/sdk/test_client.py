from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt import client as client_module
from ckpt import protocol
from ckpt.client import Client, daemon_command, daemon_note
from ckpt.exceptions import AddressError, DaemonError, NoDaemonError, UsageError
from ckpt.files import FileLock
from ckpt.paths import StatePaths


class Peer:
    """Something that holds the daemon's lock and answers on its socket with what a test says."""

    def __init__(self, base: Path, **note: Any) -> None:
        self.path = base / "peer.sock"
        self.answers: list[bytes] = []
        self.heard: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        state = StatePaths.here()
        state.directory.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(state.lock)
        self.lock.acquire(
            {"pid": os.getpid(), "socket": str(self.path), "version": "x", "protocol": protocol.PROTOCOL, **note}
        )
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def say(self, status: str, body: bytes, *headers: str) -> None:
        """Queues one answer; the connection is closed after it unless the body has its length."""
        lines = [f"HTTP/1.1 {status}", *headers, "", ""]
        self.answers.append("\r\n".join(lines).encode() + body)

    def say_json(self, value: Any, status: str = "200 OK") -> None:
        body = json.dumps(value).encode()
        self.say(status, body, f"Content-Length: {len(body)}", "Connection: close")

    def _serve(self) -> None:
        while self.answers or self.lock.held:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.heard.append(_request(connection))
                if self.answers:
                    connection.sendall(self.answers.pop(0))

    def close(self) -> None:
        self.lock.release()
        # Wakes the accept that still waits.
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(self.path))
        self._thread.join(5)
        self._listener.close()


def _request(connection: socket.socket) -> bytes:
    """One whole request."""
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
        head, end, body = data.partition(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if end and len(body) >= sum(lengths):
            break
    return data


@pytest.fixture
def peer(own_places: Path) -> Iterator[Peer]:
    peer = Peer(own_places)
    yield peer
    peer.close()


def test_without_a_daemon_changes_say_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with Client.connect() as client:
        assert client.mode == "once"
        with pytest.raises(NoDaemonError) as error:
            client.post("/v1/apply", {"plan": "x"})
    assert error.value.exit_code == 4
    assert "ckptd start" in str(error.value)
    assert "CKPTD_AUTOSTART=0" in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("SLURM_JOB_ID", "17"), ("CKPTD_AUTOSTART", "0")])
def test_where_no_daemon_may_be_started(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for other in ("CI", "SLURM_JOB_ID", "CKPTD_AUTOSTART"):
        monkeypatch.delenv(other, raising=False)
    assert client_module.autostart_forbidden() is None
    monkeypatch.setenv(name, value)
    assert client_module.autostart_forbidden() is not None


def test_reads_without_a_daemon_come_from_the_disk(runs: Any) -> None:
    runs.run("exp1", checkpoints=2)
    with Client.connect(directory=str(runs.base)) as client:
        assert [run["name"] for run in client.get("/v1/runs")["runs"]] == ["exp1"]
        assert client.get("/v1/resolve", ref="exp1@best")["checkpoint"]["step"] == 20
        with pytest.raises(AddressError) as error:
            client.get("/v1/run", run="exp2")
        assert "exp1" in str(error.value.hint)
    assert not StatePaths.here().directory.exists()


def test_a_note_that_a_crash_left_is_no_daemon(own_places: Path) -> None:
    state = StatePaths.here()
    state.directory.mkdir(parents=True)
    state.lock.write_text(json.dumps({"pid": 1, "socket": "/nowhere", "protocol": protocol.PROTOCOL}))
    assert daemon_note() is None
    assert Client.connect().mode == "once"


def test_another_protocol_asks_for_a_restart(own_places: Path) -> None:
    peer = Peer(own_places, protocol=protocol.PROTOCOL + 1)
    try:
        with pytest.raises(DaemonError, match="speaks protocol") as error:
            Client.connect()
        assert "ckptd stop && ckptd start" in str(error.value)
    finally:
        peer.close()


def test_parameters_and_errors_cross_the_socket(peer: Peer) -> None:
    error = AddressError("no run", hint="did you mean x?", candidates=["x"])
    peer.say_json(protocol.error_to_json(error), "400 Bad Request")
    with Client.connect() as client, pytest.raises(AddressError) as raised:
        client.get("/v1/run", run="a b/\udcff", points=3, nothing=None)
    assert raised.value.candidates == ("x",)
    assert peer.heard[0].startswith(b"GET /v1/run?run=a+b%2F%FF&points=3 HTTP/1.1")


def test_a_change_carries_a_key_and_is_sent_again_after_a_broken_connection(peer: Peer) -> None:
    peer.answers.append(b"")
    peer.say_json({"done": True})
    with Client.connect() as client:
        assert client.post("/v1/stop", {"a": 1}) == {"done": True}
    bodies = [json.loads(heard.partition(b"\r\n\r\n")[2]) for heard in peer.heard]
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    assert bodies[0]["key"]


def test_nonsense_is_told_as_such(peer: Peer) -> None:
    peer.say("200 OK", b"<html>", "Content-Length: 6", "Connection: close")
    with Client.connect() as client, pytest.raises(DaemonError, match="not JSON"):
        client.get("/v1/runs")


def test_events_resume_by_number_over_broken_connections(peer: Peer) -> None:
    stream = "Content-Type: text/event-stream"
    peer.say("200 OK", b'id: 4\n\nid: 5\nevent: mark\ndata: {"seq": 5}\n\n: still here\n\nid: 6\ndata: {"se', stream)
    peer.say("200 OK", b'id: 5\n\nid: 6\ndata: {"seq":\ndata: 6}\n\n', stream)
    seen = []
    with Client.connect() as client:
        for event in client.events():
            seen.append(event["seq"])
            if event["seq"] == 6:
                break
    assert seen == [5, 6]
    assert b"GET /v1/events HTTP" in peer.heard[0]
    assert b"GET /v1/events?since=5 HTTP" in peer.heard[1]


def test_closing_ends_a_waiting_iterator(peer: Peer) -> None:
    client = Client.connect()
    peer.say("200 OK", b"id: 1\n\n", "Content-Type: text/event-stream")
    ended = threading.Event()

    def follow() -> None:
        for _ in client.events():
            pass
        ended.set()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    time.sleep(0.2)
    client.close()
    assert ended.wait(5)


def test_past_events_without_a_daemon_are_none() -> None:
    with Client.connect() as client:
        assert list(client.events(follow=False)) == []
        with pytest.raises(NoDaemonError):
            next(iter(client.events()))


def test_the_command_beside_the_interpreter_is_used() -> None:
    command = daemon_command()
    assert Path(command[0]).name in ("ckptd", Path(sys.executable).name)
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "once" in done.stdout


def test_the_import_is_light() -> None:
    heavy = ("torch", "numpy", "textual", "starlette", "httpx")
    code = f"import sys, ckpt.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_no_daemon_can_be_started_reads_are_served_and_the_reason_is_told_in_one_line(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.run("exp1", checkpoints=1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("CKPTD_STATE_HOME", str(tmp_path / "file" / "state"))
    for name in ("CKPTD_AUTOSTART", "CI", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    with Client.connect(directory=str(runs.base)) as client:
        assert client.mode == "once"
        assert [run["name"] for run in client.get("/v1/runs")["runs"]] == ["exp1"]
        with pytest.raises(NoDaemonError) as caught:
            client.post("/v1/undo")
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "cannot be written" in told and "set CKPTD_STATE_HOME" in told
    assert "cannot be written" in str(caught.value.hint)


def test_a_refusal_is_read_although_the_request_could_not_be_sent(own_places: Path) -> None:
    peer = Peer(own_places)
    refusal = protocol.encode(protocol.error_to_json(DaemonError("the daemon is full")))
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(refusal)}\r\nConnection: close\r\n\r\n"
    path = own_places / "full.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.sendall(head.encode() + refusal)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            connection = client_module._Connection(str(path), 20)
            connection.connect()
            thread.join(20)
            with Client("daemon") as client:
                client._idle.append(connection)
                with pytest.raises(DaemonError, match="is full"):
                    client.get("/v1/runs")
        finally:
            peer.close()


def test_a_full_queue_is_waited_for(own_places: Path) -> None:
    path = own_places / "full.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        first, second = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        with first, second:
            first.connect(str(path))
            second.setblocking(False)
            with pytest.raises(BlockingIOError):
                second.connect(str(path))
            connection = client_module._Connection(str(path), 20)
            waiting = threading.Thread(target=connection.connect)
            waiting.start()
            time.sleep(0.1)
            assert waiting.is_alive()
            listener.accept()[0].close()
            waiting.join(20)
            assert not waiting.is_alive()
            connection.close()


def test_a_daemon_that_dies_between_its_note_and_the_call_is_told_as_gone(own_places: Path) -> None:
    peer = Peer(own_places)
    client = Client.connect()
    peer.close()
    with client, pytest.raises(NoDaemonError, match="gone"):
        client.get("/v1/runs")


def test_a_socket_that_nobody_listens_on_is_told(own_places: Path) -> None:
    peer = Peer(own_places)
    dead = own_places / "dead.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    try:
        peer.lock.path.write_text(json.dumps({"pid": 1, "socket": str(dead), "protocol": protocol.PROTOCOL}))
        with Client.connect() as client, pytest.raises(DaemonError, match="did not answer"):
            client.get("/v1/runs")
    finally:
        peer.close()


@pytest.mark.parametrize("note", ["", '{"pid": 12, "sock', '{"pid": 12, "socket": 1}', "[]"])
def test_a_half_written_note_is_waited_for(own_places: Path, note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "STARTING_S", 0.2)
    peer = Peer(own_places)
    whole = peer.lock.path.read_text()
    try:
        peer.lock.path.write_text(note)
        with pytest.raises(DaemonError, match="has no socket"):
            Client.connect()
        monkeypatch.setattr(client_module, "STARTING_S", 20)
        timer = threading.Timer(0.2, lambda: peer.lock.path.write_text(whole))
        timer.start()
        assert Client.connect().mode == "daemon"
        timer.join()
    finally:
        peer.close()


def test_a_daemon_that_does_not_answer_is_given_up(peer: Peer) -> None:
    peer.lock.release()
    peer.lock.acquire({"pid": 1, "socket": str(peer.path), "protocol": protocol.PROTOCOL})
    with socket.socket(socket.AF_UNIX) as silent:
        path = peer.path.with_name("silent.sock")
        silent.bind(str(path))
        silent.listen()
        peer.lock.path.write_text(json.dumps({"pid": 1, "socket": str(path), "protocol": protocol.PROTOCOL}))
        with Client.connect(answer_s=0.2) as client, pytest.raises(DaemonError, match="did not answer"):
            client.get("/v1/runs")


def test_a_busy_daemon_is_asked_for_events_again(peer: Peer) -> None:
    peer.say_json(protocol.error_to_json(DaemonError("full")), "503 Service Unavailable")
    peer.say("200 OK", b'id: 5\n\nid: 6\ndata: {"seq": 6}\n\n', "Content-Type: text/event-stream")
    with Client.connect() as client:
        assert next(client.events())["seq"] == 6


def test_closing_ends_every_iterator(peer: Peer) -> None:
    client = Client.connect()
    for _ in range(2):
        peer.say("200 OK", b"id: 1\n\n", "Content-Type: text/event-stream")
    threads = [threading.Thread(target=lambda: list(client.events()), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    client.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_filters_and_their_errors_are_the_same_without_a_daemon(runs: Any) -> None:
    runs.run("exp1", checkpoints=3)
    with Client.connect(directory=str(runs.base)) as client:
        assert client.mode == "once"
        shown = client.get("/v1/run", run="exp1", filter="step>10", sort="step", limit=1)
        assert [checkpoint["step"] for checkpoint in shown["checkpoints"]] == [20]
        with pytest.raises(UsageError, match="at column 6") as caught:
            client.get("/v1/runs", filter="step>high")
        assert "^" in str(caught.value.hint)
        with pytest.raises(UsageError, match="no page"):
            client.get("/v1/nowhere")


def test_the_socket_is_found_whatever_the_environment_says_of_places(
    peer: Peer, monkeypatch: Any, tmp_path: Path
) -> None:
    for name in ("CKPTD_RUNTIME_DIR", "XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    peer.say_json({"runs": []})
    with Client.connect() as client:
        assert client.get("/v1/runs") == {"runs": []}
