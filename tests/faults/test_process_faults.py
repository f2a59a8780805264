"""What happens to a process: signals in a storm, no more descriptors, garbage on its socket, a second one beside it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.client import daemon_note
from ckpt.paths import StatePaths, socket_path

Until = Callable[..., Any]
Weights = Callable[..., Path]
Start = Callable[..., Any]
GONE = ("checkpoint.gone", "checkpoint.trashed", "run.removed", "root.degraded")


# Signals


@pytest.mark.usefixtures("turn")
def test_the_end_in_a_storm_is_quick_and_whole(
    start: Start, storm: Callable[..., Any], root: Path, chance: random.Random, equals_scan: Callable[..., None]
) -> None:
    writer = storm(root)
    daemon = start("--watch", root, ready=chance.random() < 0.8, CKPTD_RESCAN_S=chance.choice(["0.2", "3600"]))
    writer.wait(chance.randrange(1, 60))
    # Between its start and its loop a signal finds no handler yet; then it ends as any process does.
    early = daemon_note() is None or not socket_path().exists()
    code = daemon.end()
    assert code == 0 or (early and code == -signal.SIGTERM), daemon.said()[-3000:]
    assert daemon_note() is None
    assert not socket_path().exists() or early
    assert "Traceback" not in daemon.said()
    writer.end()
    again = start("--watch", root)
    equals_scan(again, root)
    assert again.end() == 0
    # All that the second one knew is in the files that the third one starts from.
    third = start("--watch", root)
    assert not third.events("run.added", "run.removed", "checkpoint.gone")
    equals_scan(third, root)


def test_a_second_signal_ends_it_at_once(start: Start, root: Path, weights: Weights) -> None:
    for number in range(30):
        weights(root / f"run-{number}" / "model.safetensors")
    daemon = start("--watch", root)
    # Somebody who listens keeps a daemon that drains from ending for a moment.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.connect(str(socket_path()))
        listener.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        listener.recv(100)
        daemon.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError):
            daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(10) == 0
    assert daemon_note() is None
    assert start("--watch", root).runs().keys() == {f"run-{number}" for number in range(30)}


def test_hup_in_a_storm_misses_nothing(
    start: Start, storm: Callable[..., Any], root: Path, own_places: Path, equals_scan: Callable[..., None]
) -> None:
    (own_places / "config").mkdir()
    config = own_places / "config" / "config.toml"
    daemon = start("--watch", root)
    writer = storm(root)
    for number in range(12):
        config.write_text("[daemon]\nrescan_s = 1\n" if number % 3 else "[deamon]\n")
        daemon.process.send_signal(signal.SIGHUP)
        writer.wait(6)
    config.write_text("")
    daemon.process.send_signal(signal.SIGHUP)
    writer.end()
    equals_scan(daemon, root)
    assert daemon.end() == 0
    assert "Traceback" not in daemon.said()


# A second one


def test_of_many_starts_exactly_one_lives(
    start: Start, storm: Callable[..., Any], root: Path, until: Until, equals_scan: Callable[..., None]
) -> None:
    writer = storm(root)
    daemons = [start("--watch", root, ready=False) for _ in range(6)]
    until(lambda: sum(daemon.process.poll() is None for daemon in daemons) == 1)
    (living,) = [daemon for daemon in daemons if daemon.process.poll() is None]
    living.wait_ready()
    for daemon in daemons:
        if daemon is not living:
            assert daemon.process.returncode == 3
            assert "already runs as process" in daemon.said()
    writer.end()
    equals_scan(living, root)
    assert (daemon_note() or {}).get("pid") == living.pid


@pytest.mark.usefixtures("turn")
def test_a_stopped_daemon_keeps_its_place_and_misses_nothing(
    start: Start, storm: Callable[..., Any], root: Path, chance: random.Random, equals_scan: Callable[..., None]
) -> None:
    daemon = start("--watch", root)
    writer = storm(root)
    writer.wait(chance.randrange(30))
    daemon.process.send_signal(signal.SIGSTOP)
    writer.wait(80)
    other = start("--watch", root, ready=False)
    assert other.process.wait(20) == 3
    assert f"process {daemon.pid}" in other.said()
    writer.wait(20)
    daemon.process.send_signal(signal.SIGCONT)
    writer.wait(chance.randrange(1, 10))
    writer.end()
    equals_scan(daemon, root)


# No more descriptors


def test_a_daemon_without_descriptors_stays_and_heals(
    start: Start,
    root: Path,
    runs: Any,
    weights: Weights,
    until: Until,
    open_files: Callable[[Any], int],
    allow_files: Callable[[Any, int], None],
    equals_scan: Callable[..., None],
) -> None:
    own = runs.run("own", checkpoints=2, base=root)
    weights(root / "foreign" / "model-1.safetensors")
    daemon = start("--watch", root, CKPTD_RESCAN_S="0.3")
    with daemon.client() as client:
        client.get("/v1/runs")
        # The connection stays, and is all that it has.
        allow_files(daemon, open_files(daemon))
        looks = client.get("/v1/status")["daemon"]["looks"]["full"]
        weights(root / "foreign" / "model-2.safetensors")
        weights(root / "new" / "model.safetensors")
        runs.checkpoint(own, step=500)
        until(lambda: client.get("/v1/status")["daemon"]["looks"]["full"] >= looks + 3)
        known = {run["name"]: run["checkpoints"] for run in client.get("/v1/runs")["runs"]}
        assert known.keys() >= {"own", "foreign"}
        assert known["own"] >= 2
        assert known["foreign"] >= 1
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as other:
            other.settimeout(0.3)
            other.connect(str(socket_path()))
            other.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
            other.recv(1)
    assert daemon.process.poll() is None
    allow_files(daemon, 1024)
    until(lambda: daemon.runs() == {"own": 3, "foreign": 2, "new": 1})
    until(lambda: daemon.root()["state"] == "ok")
    assert daemon.events("checkpoint.gone", "run.removed") == []
    looks = daemon.status()["looks"]["full"]
    weights(root / "later" / "deep" / "model.safetensors")
    until(lambda: "deep" in daemon.runs())
    equals_scan(daemon, root)
    assert daemon.end() == 0


@pytest.mark.parametrize("number", [16, 20, 24, 32, 64])
def test_a_start_with_few_descriptors_works_or_says_why(
    number: int, start: Start, root: Path, weights: Weights, until: Until, allow_files: Callable[[Any, int], None]
) -> None:
    weights(root / "foreign" / "model-1.safetensors")
    daemon = start("--watch", root, ready=False, wrap=("prlimit", f"--nofile={number}:1024"))
    until(lambda: daemon.process.poll() is not None or daemon.status()["ready"])
    if daemon.process.poll() is not None:
        assert daemon.process.returncode == 3
        assert "Traceback" not in daemon.said()
        assert "oo many open files" in daemon.said()
        return
    allow_files(daemon, 1024)
    until(lambda: daemon.runs() == {"foreign": 1})
    daemon.look()
    weights(root / "new" / "model.safetensors")
    until(lambda: "new" in daemon.runs())
    assert daemon.root()["state"] == "ok"
    assert daemon.end() == 0


# Garbage


@pytest.mark.usefixtures("turn")
def test_garbage_and_floods_on_the_socket_hide_no_write(
    start: Start,
    storm: Callable[..., Any],
    root: Path,
    garbage: Callable[[], None],
    until: Until,
    equals_scan: Callable[..., None],
) -> None:
    daemon = start("--watch", root)
    writer = storm(root)
    ending = threading.Event()

    def talk() -> None:
        while not ending.is_set():
            garbage()

    talkers = [threading.Thread(target=talk) for _ in range(3)]
    flood: list[socket.socket] = []
    try:
        for talker in talkers:
            talker.start()
        for number in range(300):
            one = socket.socket(socket.AF_UNIX)
            flood.append(one)
            one.settimeout(0.05)
            with contextlib.suppress(OSError):
                one.connect(str(socket_path()))
                one.sendall(b"GET /v1/ru" if number % 2 else b"")
        writer.wait(60)
    finally:
        ending.set()
        for talker in talkers:
            talker.join()
        for one in flood:
            one.close()
    writer.end()
    until(daemon.status)
    equals_scan(daemon, root)
    assert daemon.events(*GONE[3:]) == []
    assert daemon.end() == 0
    assert "Traceback" not in daemon.said()


def test_a_lock_file_full_of_garbage_is_no_lock(start: Start, root: Path, weights: Weights) -> None:
    weights(root / "foreign" / "model.safetensors")
    lock = StatePaths.here().lock
    lock.parent.mkdir(parents=True)
    lock.write_bytes(b'{"pid": 1, "socket": "/nowhere"' + os.urandom(5000))
    assert daemon_note() is None
    assert start("--watch", root).runs() == {"foreign": 1}
