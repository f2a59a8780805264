"""Calls beside each other, also where no thread can be had."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from ckpt.writing.threads import side_by_side


def test_all_run_at_the_same_time_and_the_first_in_this_thread() -> None:
    together = threading.Barrier(3, timeout=30)
    threads: dict[int, int] = {}

    def call(number: int) -> None:
        together.wait()
        threads[number] = threading.get_ident()

    side_by_side([partial(call, number) for number in range(3)])
    assert len(set(threads.values())) == 3
    assert threads[0] == threading.get_ident()


def test_none_is_nothing() -> None:
    side_by_side([])


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on addresses")
def test_where_no_thread_can_be_had_all_run_here() -> None:
    code = """
import os, resource, threading
from ckpt.writing.threads import side_by_side
threading.stack_size(1 << 30)
used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), used + (256 << 20)))
ran = []
side_by_side([lambda: ran.append(threading.current_thread() is threading.main_thread())] * 3)
print(ran)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[True, True, True]\n", done.stderr


def test_an_interrupt_waits_until_nobody_works_on_what_may_go_away() -> None:
    code = """
import os, signal, threading, time
from ckpt.writing.threads import side_by_side
ended = []
def helper():
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.3)
    ended.append(True)
def here():
    signal.raise_signal(signal.SIGINT)
try:
    side_by_side([here, helper])
except KeyboardInterrupt:
    print(ended)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[True]\n", done.stderr


@pytest.mark.parametrize("count", [1, 3])
def test_a_helper_that_was_interrupted_at_birth_is_awaited(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    start, ended = threading.Thread.start, []

    def interrupted(self: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        start(self)
        raise KeyboardInterrupt

    def helper() -> None:
        time.sleep(0.2)
        ended.append(True)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side([lambda: None, *[helper] * count])
    assert ended and not [thread for thread in threading.enumerate() if thread.name == "ckpt-memory"]
