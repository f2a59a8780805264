"""The real daemon as a process, with real signals, sockets and files."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckpt.client import Client, daemon_note
from ckpt.exceptions import AddressError, CkptError, LockedError, UsageError
from ckpt.paths import RunPaths, StatePaths, socket_path

COMMAND = [sys.executable, "-m", "ckptd"]


def ckptd(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, **options)


def until(check: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true answer of `check`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(CkptError):
            found = check()
            if found:
                return found
        time.sleep(0.02)
    raise AssertionError(f"{check} never came true")


class Running:
    """A daemon in the foreground of a process of ours."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "run", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def wait_ready(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            note = daemon_note()
            if note is None or note.get("pid") != self.process.pid or not socket_path().exists():
                return False
            with contextlib.suppress(Exception), Client.connect(autostart=False) as client:
                return bool(client.get("/v1/status")["daemon"]["ready"])
            return False

        until(answers)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.output = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.output = self.process.communicate()
            raise
        return self.process.returncode


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def make(*arguments: str, ready: bool = True, **environment: str) -> Running:
        started.append(Running(*arguments, **environment))
        if ready:
            started[-1].wait_ready()
        return started[-1]

    yield make
    for running in started:
        running.end(signal.SIGKILL)


@pytest.fixture
def client(start: Callable[..., Running], runs: Any) -> Iterator[Client]:
    runs.base.mkdir(parents=True)
    start("--watch", str(runs.base))
    with Client.connect() as client:
        yield client


def names(client: Client) -> list[str]:
    return sorted(run["name"] for run in client.get("/v1/runs")["runs"])


def test_checkpoints_are_seen_as_they_are_written_and_kept_by_policy(client: Client, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=4, policy={"keep_last": 2})
    until(lambda: names(client) == ["exp1"])
    until(lambda: len(client.get("/v1/trash")["entries"]) == 2)
    runs.checkpoint(directory, step=500, loss=0.01)
    until(lambda: client.get("/v1/resolve", ref="exp1@latest")["checkpoint"]["step"] == 500)
    until(lambda: len(client.get("/v1/trash")["entries"]) == 3)
    assert len(list((directory / "checkpoints").glob("*.pt"))) == 2
    client.post("/v1/undo")
    assert len(list((directory / "checkpoints").glob("*.pt"))) == 3


def test_the_socket_is_this_users_alone(client: Client) -> None:
    path = socket_path()
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
    assert stat.S_IMODE(StatePaths.here().directory.lstat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_another_user_is_refused_even_where_the_mode_would_let_him(client: Client) -> None:
    path = socket_path()
    for place in (path.parent.parent, path.parent):
        place.chmod(0o755)
    path.chmod(0o666)
    code = (
        "import os, socket; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
        f"s.connect({str(path)!r})\n"
        "s.sendall(b'GET /v1/runs HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "print(s.makefile().read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert "403" in done.stdout.splitlines()[0]


def test_a_second_daemon_names_the_first(client: Client) -> None:
    pid = client.get("/v1/status")["daemon"]["pid"]
    done = ckptd("run")
    assert done.returncode == 3
    assert f"process {pid}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(start: Callable[..., Running], runs: Any, number: int) -> None:
    runs.run("exp1", checkpoints=1)
    running = start("--watch", str(runs.base))
    assert running.end(number) == 0
    assert not socket_path().exists()
    assert daemon_note() is None
    assert len(list(StatePaths.here().catalog.glob("*.json"))) == 1
    assert "Traceback" not in running.output[1]


def test_it_ends_while_somebody_listens(client: Client, start: Callable[..., Running]) -> None:
    def listen() -> None:
        with contextlib.suppress(Exception):
            seen.extend(client.events())

    seen: list[Any] = []
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert ckptd("stop").returncode == 0
    assert time.monotonic() - began < 8
    client.close()
    listener.join(5)


def test_after_a_kill_the_next_one_starts_at_once_over_the_stale_socket(
    start: Callable[..., Running], runs: Any
) -> None:
    runs.run("exp1", checkpoints=1)
    first = start("--watch", str(runs.base))
    first.end(signal.SIGKILL)
    assert socket_path().exists()
    assert daemon_note() is None
    start("--watch", str(runs.base))
    with Client.connect() as client:
        assert names(client) == ["exp1"]


def test_a_file_in_the_place_of_the_socket_is_not_removed(start: Callable[..., Running], own_places: Path) -> None:
    path = socket_path()
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    running = start(ready=False)
    assert running.process.wait(20) == 3
    assert path.read_text() == "precious"


def test_hup_takes_the_config_anew_and_keeps_the_old_one_when_it_is_wrong(
    start: Callable[..., Running], runs: Any, own_places: Path
) -> None:
    running = start()
    runs.run("exp1", checkpoints=1)
    config = own_places / "config" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[[root]]\npath = "{runs.base}"\n')
    running.process.send_signal(signal.SIGHUP)
    with Client.connect() as client:
        until(lambda: names(client) == ["exp1"])
        config.write_text("[[rot]]\n")
        running.process.send_signal(signal.SIGHUP)
        until(lambda: client.get("/v1/status")["daemon"]["problems"])
        assert names(client) == ["exp1"]


def test_a_config_that_is_wrong_is_refused_at_the_start(own_places: Path) -> None:
    (own_places / "config").mkdir()
    (own_places / "config" / "config.toml").write_text("[daemon]\nrescan = 3\n")
    done = ckptd("run")
    assert done.returncode == 2
    assert "did you mean 'rescan_s'" in done.stderr
    assert ckptd("config", "check").returncode == 2


def test_events_go_on_over_a_restart(start: Callable[..., Running], runs: Any) -> None:
    runs.base.mkdir()
    first = start("--watch", str(runs.base))
    got: list[dict[str, Any]] = []
    client = Client.connect()
    thread = threading.Thread(target=lambda: got.extend(_until_run(client, "exp2")), daemon=True)
    thread.start()
    time.sleep(0.3)
    runs.run("exp1", checkpoints=1)
    until(lambda: any(event.get("name") == "exp1" for event in client.get("/v1/events", follow=0)["events"]))
    first.end()
    start("--watch", str(runs.base))
    runs.run("exp2", checkpoints=1)
    thread.join(20)
    client.close()
    numbers = [event["seq"] for event in got]
    assert numbers == sorted(set(numbers))
    told = [event.get("name") for event in got if event["kind"] == "run.added"]
    assert told[0] == "exp1"
    assert told[-1] == "exp2"


def _until_run(client: Client, name: str) -> list[dict[str, Any]]:
    seen = []
    for event in client.events():
        seen.append(event)
        if event.get("name") == name:
            break
    return seen


def test_a_training_that_is_killed_is_seen_as_failed(client: Client, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1, attempts=[{"started": 1.0, "pid": 1, "host": "x"}])
    code = (
        "import sys, time; from pathlib import Path; from ckpt.files import FileLock\n"
        f"FileLock(Path({str(RunPaths(directory).lock)!r})).acquire({{'pid': 1, 'program': 'train.py'}})\n"
        "print('up', flush=True); time.sleep(60)"
    )
    trainer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "up\n"
    until(lambda: client.get("/v1/run", run="exp1")["run"]["status"] == "training")
    files.append_json(directory / "states.jsonl", {"at": 1.0, "epoch": 1, "global_step": 3, "loss": 0.5})
    until(lambda: client.get("/v1/run", run="exp1")["run"]["step"] == 3)
    trainer.kill()
    trainer.communicate()
    until(lambda: client.get("/v1/run", run="exp1")["run"]["status"] == "failed")
    kinds = [event["kind"] for event in client.get("/v1/events", follow=0)["events"]]
    assert "state" in kinds


def test_a_run_in_training_is_left_alone_until_its_end(client: Client, runs: Any) -> None:
    directory = runs.run("exp1")
    lock = files.FileLock(RunPaths(directory).lock)
    lock.acquire({"pid": os.getpid(), "program": "train.py"})
    files.write_json(directory / "run.json", {**files.read_json(directory / "run.json"), "policy": {"keep_last": 1}})
    for step in (1, 2, 3):
        runs.checkpoint(directory, step=step, loss=1.0 / step)
    until(lambda: client.get("/v1/run", run="exp1")["run"]["checkpoints"] == 3)
    plan = client.get("/v1/plan", run="exp1")
    applied = client.post("/v1/apply", {"plan": plan["id"]})
    assert applied["removed"] == []
    assert len(applied["skipped"]) == 2
    time.sleep(1.0)
    assert len(list((directory / "checkpoints").glob("*.pt"))) == 3
    lock.release()
    until(lambda: len(list((directory / "checkpoints").glob("*.pt"))) == 1)


def test_roots_through_the_api_survive_a_restart(start: Callable[..., Running], runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    first = start()
    with Client.connect() as client:
        client.post("/v1/roots", {"path": str(runs.base)})
        for path, said in ((str(runs.base / "exp1"), "already watched"), ("/nowhere", "does not exist")):
            with pytest.raises(UsageError, match=said):
                client.post("/v1/roots", {"path": path})
        with pytest.raises(UsageError, match="no rule says what to keep"):
            client.post("/v1/roots", {"path": str(runs.base), "mode": "enforce"})
    first.end()
    start()
    with Client.connect() as client:
        assert names(client) == ["exp1"]
        with pytest.raises(AddressError):
            client.post("/v1/roots/remove", {"path": "/elsewhere"})


def test_garbage_and_floods_on_the_socket_hurt_nobody(client: Client) -> None:
    path = str(socket_path())
    for raw in (b"\x00" * 200_000, b"GET / HTTP/9\r\n\r\n", b"POST /v1/marks HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            one.connect(path)
            with contextlib.suppress(OSError):
                one.sendall(raw)
                one.recv(1000)
    big = b'{"a": "' + b"x" * (2 << 20) + b'"}'
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect(path)
        head = f"POST /v1/marks HTTP/1.1\r\nHost: x\r\nContent-Length: {len(big)}\r\n\r\n".encode()
        with contextlib.suppress(OSError):
            one.sendall(head + big)
        assert b" 413 " in one.recv(1000).split(b"\r\n")[0]
    for body in (b"[]", b"{", b'{"plan": 3}'):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(path)
            one.sendall(b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert b" 400 " in one.recv(1000).split(b"\r\n")[0]
    # Clients that never finish their request.
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for one in waiting:
        one.connect(path)
        one.sendall(b"GET /v1/ru")
    assert client.get("/v1/status")["daemon"]["errors"] == 0
    for one in waiting:
        one.close()


def test_start_waits_detaches_and_says_so_once(own_places: Path, runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        done = ckptd("start", "--watch", str(runs.base), pass_fds=(writer,))
        os.close(writer)
        assert done.returncode == 0, done.stderr
        assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)
        note = daemon_note()
        assert note is not None
        # Inherited descriptors are closed: the pipe ends although the daemon lives.
        os.set_blocking(reader, False)
        assert os.read(reader, 1) == b""
        assert os.getsid(note["pid"]) == note["pid"]
        again = ckptd("start")
        assert again.returncode == 0
        assert f"already runs (process {note['pid']}" in again.stderr
        shown = ckptd("status")
        assert str(runs.base) in shown.stdout
        assert json.loads(ckptd("status", "--json").stdout)["roots"][0]["runs"] == 1
    finally:
        os.close(reader)
        stopped = ckptd("stop")
    assert f"process {note['pid']}" in stopped.stderr
    assert daemon_note() is None
    assert ckptd("stop").stderr == "no ckptd runs\n"
    assert ckptd("status").returncode == 4


def test_an_autostarted_daemon_serves_and_ends_when_idle(
    monkeypatch: pytest.MonkeyPatch, runs: Any, capsys: Any
) -> None:
    runs.run("exp1", checkpoints=1)
    monkeypatch.delenv("CKPTD_AUTOSTART")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("CKPTD_IDLE_EXIT_S", "1")
    with Client.connect(directory=str(runs.base)) as client:
        assert client.mode == "daemon"
        assert names(client) == ["exp1"]
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "ckptd stop" in told
    until(lambda: daemon_note() is None, 20)


def test_an_idle_daemon_stays_while_a_run_trains(start: Callable[..., Running], runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    lock = files.FileLock(RunPaths(directory).lock)
    lock.acquire({"pid": os.getpid(), "program": "train.py"})
    running = start("--watch", str(runs.base), "--idle-exit", CKPTD_IDLE_EXIT_S="0.5")
    time.sleep(2)
    assert running.process.poll() is None
    lock.release()
    assert running.process.wait(20) == 0


def test_many_starts_at_once_make_one_daemon() -> None:
    starts = [
        subprocess.Popen([*COMMAND, "start"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        outputs = [one.communicate(timeout=60) for one in starts]
        assert [one.returncode for one in starts] == [0] * 4, outputs
        assert sum("started" in said for _, said in outputs) == 1
    finally:
        ckptd("stop")


def test_once_answers_without_writing_anything(runs: Any, own_places: Path) -> None:
    runs.run("exp1", checkpoints=2)
    before = sorted(runs.base.rglob("*"))
    done = ckptd("once", str(runs.base), "--get", "/v1/run?run=exp1")
    assert json.loads(done.stdout)["run"]["checkpoints"] == 2
    wrong = ckptd("once", str(runs.base), "--get", "/v1/run?run=exp2")
    assert wrong.returncode == 2
    assert json.loads(wrong.stdout)["error"]["kind"] == "AddressError"
    assert ckptd("once", str(runs.base), "--json").stdout == ckptd("once", str(runs.base)).stdout
    assert json.loads(ckptd("config", "check", "--json").stdout)["exists"] is False
    assert ckptd("--version").stdout.startswith("ckptd ")
    assert ckptd("once", "/nowhere").returncode == 2
    assert sorted(runs.base.rglob("*")) == before
    assert not (own_places / "state").exists()


def test_rebuild_makes_a_damaged_or_newer_catalog_anew(start: Callable[..., Running], runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    first = start()
    with Client.connect() as client:
        client.post("/v1/roots", {"path": str(runs.base)})
    first.end()
    catalog = StatePaths.here().catalog
    (catalog / "new.json").write_text(json.dumps({"runs": {"1": {"schema": 99, "view": {}}}}))
    refused = start(ready=False)
    assert refused.process.wait(20) == 3
    assert "newer ckptd" in refused.process.communicate()[1]
    done = ckptd("rebuild")
    assert done.stdout == "1 runs, 1 checkpoints\n"
    start()
    assert json.loads(ckptd("rebuild", "--json").stdout) == {"runs": 1, "checkpoints": 1, "marks": []}


def test_a_state_directory_that_cannot_be_made_is_one_line(own_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_places / "taken").write_text("x")
    monkeypatch.setenv("CKPTD_STATE_HOME", str(own_places / "taken"))
    for command in ("run", "start"):
        done = ckptd(command)
        assert done.returncode == 3
        assert "Traceback" not in done.stderr
        assert "CKPTD_STATE_HOME" in done.stderr


def test_the_daemon_never_loads_what_it_must_not(client: Client, runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    code = (
        "import sys, ckptd.cli, ckptd.daemon, ckptd.once\n"
        f"service = ckptd.once.look([{str(runs.base)!r}])\n"
        "for page in ('/v1/runs', '/v1/run?run=exp1', '/v1/plan', '/v1/trash', '/v1/curves?run=exp1', '/v1/status'):\n"
        "    service.get(page)\n"
        "print([m for m in ('torch', 'textual', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plain_http_tools_can_talk_to_it(client: Client) -> None:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(socket_path()))
    connection.request("GET", "/v1/nowhere")
    response = connection.getresponse()
    assert response.status == 404
    assert "/v1/runs" in json.loads(response.read())["error"]["hint"]
    connection.request("DELETE", "/v1/runs")
    assert connection.getresponse().status == 405
    connection.close()


def test_locked_is_a_conflict_for_the_client(client: Client, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=3, policy={"keep_last": 1})
    entries = until(lambda: client.get("/v1/trash")["entries"])
    lock = files.FileLock(RunPaths(directory).lock)
    until(lambda: lock.is_free())
    lock.acquire({"pid": os.getpid(), "program": "train.py"})
    with pytest.raises(LockedError):
        client.post("/v1/trash/purge", {"ids": [entries[0]["id"]]})
    lock.release()
