"""One call after the other, whoever is interrupted where."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from ckpt.writing.worker import Worker

Start = Callable[[threading.Thread], None]
_start: Start = threading.Thread.start


def interrupted_start(monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
    """The next thread is started, or not, and then Ctrl-C comes."""

    def start(self: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", _start)
        if not before:
            _start(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)


def test_calls_are_made_in_their_order_and_one_at_a_time() -> None:
    worker, made, busy = Worker("test"), [], threading.Lock()

    def call(number: int) -> None:
        assert busy.acquire(blocking=False)
        made.append((number, worker.is_this_thread))
        busy.release()

    for number in range(200):
        worker.give(lambda number=number: call(number))
    assert worker.wait()
    assert made == [(number, True) for number in range(200)]
    assert not worker.is_this_thread
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


@pytest.mark.parametrize("before", [True, False])
def test_a_call_whose_thread_was_interrupted_at_birth_is_made_once(
    monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    worker, made = Worker("test"), []
    interrupted_start(monkeypatch, before=before)
    with pytest.raises(KeyboardInterrupt):
        worker.give(lambda: made.append(1))
    worker.give(lambda: made.append(2))
    assert worker.wait(60)
    assert made == [1, 2]


def test_nothing_goes_away_while_a_call_is_made_although_the_wait_is_interrupted() -> None:
    worker, made = Worker("test"), []
    go = threading.Event()
    worker.give(lambda: made.append(go.wait(60)))

    def interrupt() -> None:
        for _ in range(2):
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.1)
        go.set()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        worker.end()
    assert made == [True]


def test_a_wait_has_an_end_and_can_be_repeated() -> None:
    worker, go = Worker("test"), threading.Event()
    worker.give(lambda: go.wait(60) and None)
    assert not worker.wait(0.01)
    go.set()
    assert worker.wait(60)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_what_a_call_raises_is_logged_and_the_next_is_made(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    worker, made = Worker("test"), []

    def broken() -> None:
        raise error

    with caplog.at_level(logging.ERROR):
        worker.give(broken)
        worker.give(lambda: made.append(1))
        assert worker.wait(60)
    assert made == [1] and "a call of test failed" in caplog.text


def test_without_threads_the_caller_makes_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker, made = Worker("test"), []

    def interrupted() -> None:
        made.append("begun")
        raise KeyboardInterrupt

    worker.give(lambda: made.append(worker.is_this_thread))
    with pytest.raises(KeyboardInterrupt):
        worker.give(interrupted)
    worker.give(lambda: made.append("again"))
    assert made == [False, "begun", "again"]


def test_interrupts_at_any_time_lose_nothing() -> None:
    """Ctrl-C falls into whatever the caller does just then."""
    code = """
import signal, threading, time
from ckpt.writing.worker import Worker
worker, made, given = Worker("test"), [], 0
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
armed = False
def handler(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        armed = True
        while armed:
            given += 1
            worker.give(lambda number=given: made.append(number))
            worker.wait()
    except KeyboardInterrupt:
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
assert worker.wait(30), "it waits for ever"
assert made == sorted(set(made)), "a call was made twice, or out of order"
print("whole", len(made) > 100)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "whole True\n", done.stderr
