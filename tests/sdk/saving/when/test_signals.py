"""Signals that ask for a save: who gets them, when, and what the process ends with. Real processes, real signals."""

from __future__ import annotations

import itertools
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.saving.when.signals import SignalWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals and reads /proc")

TERM, INT, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1

LOOP = """
import os, signal, sys, threading, time
from ckpt.saving.when.signals import SignalWatch

def say(*words):
    os.write(1, (" ".join(map(str, words)) + chr(10)).encode())

def own(number, frame):
    say("own", signal.Signals(number).name)

def loop(watch, save_s=0.0, step_s=0.005):
    say("ready")
    while True:
        time.sleep(step_s)
        if watch.pending:
            say("saving for", watch.pending)
            time.sleep(save_s)
            say("saved")
            watch.hand_on()
            say("goes on")
"""


@pytest.fixture
def start(server: Any, tmp_path: Path) -> Callable[[str], Any]:
    """Starts a process whose script goes on after LOOP."""
    numbers = itertools.count()
    return lambda script: server.start(tmp_path / f"output{next(numbers)}", LOOP + script)


def test_a_signal_waits_for_the_save_and_then_ends_the_process(start: Callable[[str], Any]) -> None:
    process = start("watch = SignalWatch(['SIGTERM'], 60)\nwatch.start()\nloop(watch)")
    process.until("ready")
    process.send(TERM)
    assert process.wait() == -TERM
    # What the watch itself says comes from a thread of its own, at any moment.
    said = [line for line in process.output.splitlines() if line.startswith(("saving", "saved", "goes on"))]
    assert said == ["saving for SIGTERM", "saved"]


def test_the_training_goes_on_after_usr1(start: Callable[[str], Any]) -> None:
    process = start("watch = SignalWatch(('SIGUSR1', 'SIGTERM'), 60)\nwatch.start()\nloop(watch)")
    process.until("ready")
    for times in (1, 2):
        process.send(USR1)
        process.until("goes on", times)
    process.send(TERM)
    assert process.wait() == -TERM
    assert process.output.count("\nsaved\n") == 3


def test_ctrl_c_becomes_the_interrupt_that_it_is(start: Callable[[str], Any]) -> None:
    process = start("watch = SignalWatch(['SIGINT'], 60)\nwatch.start()\ntry: loop(watch)\nfinally: say('finally')")
    process.until("ready")
    process.send(INT)
    assert process.wait() == -INT
    assert "saved\nfinally\n" in process.output and "KeyboardInterrupt" in process.output


@pytest.mark.parametrize("number", [TERM, INT])
def test_without_a_step_it_is_delivered_when_its_time_is_up(start: Callable[[str], Any], number: int) -> None:
    process = start(
        "watch = SignalWatch(['SIGTERM', 'SIGINT'], 0.3)\nwatch.start()\nsay('ready')\n"
        "try: time.sleep(100)\nfinally: say('finally')"
    )
    process.until("ready")
    process.send(number)
    assert process.wait() == -number
    assert "came 0.3 s ago and nothing is saved" in process.output
    assert ("finally" in process.output) == (number == INT)
    assert process.output.count("came") == 2


def test_a_long_call_that_runs_no_handlers_does_not_hold_it_back(start: Callable[[str], Any]) -> None:
    process = start(
        "import torch\nwatch = SignalWatch(['SIGTERM'], 0.3)\nwatch.start()\na = torch.randn(6000, 6000)\n"
        "say('ready')\na @ a @ a @ a\nsay('through')"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == -TERM
    assert "nothing is saved" in process.output and "through" not in process.output


def test_what_is_sent_twice_at_once_is_one_request(start: Callable[[str], Any]) -> None:
    """A launcher passes on what the whole group was sent."""
    process = start("watch = SignalWatch(['SIGTERM', 'SIGINT'], 60)\nwatch.start()\nloop(watch, 0.3)")
    process.until("ready")
    process.send(TERM)
    process.until("saving")
    process.send(TERM)
    assert process.wait() == -TERM
    assert process.output.count("\nsaved\n") == 1


@pytest.mark.parametrize("busy", ["loop(watch, 100)", "say('saving')\nwhile True: a @ a"])
def test_who_insists_does_not_wait_for_the_save(start: Callable[[str], Any], busy: str) -> None:
    process = start(
        f"import torch\na = torch.randn(3000, 3000)\nwatch = SignalWatch(['SIGTERM'], 100)\nwatch.start()\n{busy}"
    )
    if "loop" in busy:
        process.until("ready")
        process.send(TERM)
    process.until("saving")
    process.send_until_it_ends(TERM)
    assert process.wait() == -TERM
    assert "saved\n" not in process.output


def test_the_handler_that_was_there_before_gets_it_after_the_save(start: Callable[[str], Any]) -> None:
    process = start(
        "signal.signal(signal.SIGTERM, own)\nsignal.signal(signal.SIGUSR1, own)\n"
        "watch = SignalWatch(['SIGTERM', 'SIGUSR1'], 60)\nwatch.start()\nloop(watch)"
    )
    process.until("ready")
    for count, number in enumerate((TERM, USR1, TERM), 1):
        process.send(number)
        process.until("goes on", count)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    lines = [line for line in process.output.splitlines() if line.startswith(("saved", "own"))]
    assert lines == ["saved", "own SIGTERM", "saved", "own SIGUSR1", "saved", "own SIGTERM"]


def test_a_handler_that_was_there_before_decides_the_exit_status(start: Callable[[str], Any]) -> None:
    process = start(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "watch = SignalWatch(['SIGTERM'], 60)\nwatch.start()\nloop(watch)"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == 7 and "\nsaved\n" in process.output


def test_a_handler_that_was_there_before_runs_when_the_time_is_up(start: Callable[[str], Any]) -> None:
    process = start(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "watch = SignalWatch(['SIGTERM'], 0.2)\nwatch.start()\nsay('ready')\ntime.sleep(100)"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == 7 and "nothing is saved" in process.output


def test_an_ignored_signal_is_saved_for_and_ignored(start: Callable[[str], Any]) -> None:
    """As `nohup` has it."""
    process = start(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nwatch = SignalWatch(['SIGHUP'], 60)\nwatch.start()\nloop(watch)"
    )
    process.until("ready")
    process.send(signal.SIGHUP)
    process.until("goes on")
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_handler_that_came_later_is_left_alone(start: Callable[[str], Any]) -> None:
    process = start(
        "watch = SignalWatch(['SIGTERM'], 0.2)\nwatch.start()\nsignal.signal(signal.SIGTERM, own)\nsay('ready')\n"
        "time.sleep(0.8)\nassert watch.pending is None\nwatch.close()\n"
        "assert signal.getsignal(signal.SIGTERM) is own\nsay('end')"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == 0
    assert process.output == "ready\nown SIGTERM\nend\n"


def test_a_handler_that_came_later_may_call_ours(start: Callable[[str], Any]) -> None:
    process = start(
        "watch = SignalWatch(['SIGTERM'], 60)\nwatch.start()\nours = signal.getsignal(signal.SIGTERM)\n"
        "signal.signal(signal.SIGTERM, lambda n, f: (own(n, f), ours(n, f)))\nloop(watch)"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == -TERM
    assert "own SIGTERM\n" in process.output and "\nsaved\n" in process.output


def test_a_chained_handler_still_passes_on_after_close(start: Callable[[str], Any]) -> None:
    process = start(
        "watch = SignalWatch(['SIGTERM'], 60)\nwatch.start()\nours = signal.getsignal(signal.SIGTERM)\n"
        "signal.signal(signal.SIGTERM, lambda n, f: (own(n, f), ours(n, f)))\nwatch.close()\nloop(watch)"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == -TERM
    assert "own SIGTERM\n" in process.output and "saving" not in process.output


def test_forked_children_have_what_was_there_before(start: Callable[[str], Any]) -> None:
    """Loader workers are ended by SIGTERM, and their end must not end the training."""
    process = start(
        "import multiprocessing\nwatch = SignalWatch(['SIGTERM', 'SIGINT'], 0.2)\nwatch.start()\n"
        "made = multiprocessing.get_context('fork').Process(target=time.sleep, args=(100,))\nmade.start()\n"
        "made.terminate()\nmade.join()\nsay('worker', made.exitcode)\n"
        "pid = os.fork()\n"
        "if not pid:\n    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "    assert signal.set_wakeup_fd(-1) == -1\n    os._exit(5)\n"
        "say('child', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\ntime.sleep(0.6)\n"
        "assert watch.pending is None\nloop(watch)"
    )
    process.until("ready")
    assert process.output == "worker -15\nchild 5\nready\n"
    process.send(TERM)
    assert process.wait() == -TERM and "\nsaved\n" in process.output


@pytest.mark.parametrize(("number", "handled"), [(TERM, "killed"), (INT, "KeyboardInterrupt")])
def test_a_training_in_a_thread_of_its_own_hands_on_to_the_main_one(
    start: Callable[[str], Any], number: int, handled: str
) -> None:
    process = start(
        "watch = SignalWatch(['SIGTERM', 'SIGINT'], 60)\nwatch.start()\n"
        "threading.Thread(target=loop, args=(watch,), daemon=True).start()\ntime.sleep(100)"
    )
    process.until("ready")
    process.send(number)
    assert process.wait() == -number
    assert "\nsaved\n" in process.output
    assert ("KeyboardInterrupt" in process.output) == (handled == "KeyboardInterrupt")


def test_a_silent_rank_holds_on_until_its_time_is_up(start: Callable[[str], Any]) -> None:
    process = start(
        "watch = SignalWatch(['SIGTERM', 'SIGUSR1'], 0.5, silent=True)\nwatch.start()\nsay('ready')\n"
        "for step in range(100000):\n    time.sleep(0.005)\n    assert watch.pending is None\n    watch.hand_on()\n"
        "    say('step')"
    )
    process.until("ready")
    process.send(USR1, TERM)
    already = process.output.count("step")
    process.until("step", already + 5)
    assert process.wait() == -TERM


def test_what_waits_at_the_close_is_delivered_then(start: Callable[[str], Any]) -> None:
    process = start(
        "watch = SignalWatch(['SIGTERM'], 60)\nwatch.start()\nsay('ready')\n"
        "while not watch.pending: time.sleep(0.005)\nsay('closing')\nwatch.close()\nsay('alive')"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == -TERM
    assert "closing" in process.output and "alive" not in process.output


def test_two_trainings_in_one_process_both_save(start: Callable[[str], Any]) -> None:
    process = start(
        "first, second = (SignalWatch(['SIGTERM'], 60) for _ in range(2))\nfirst.start()\nsecond.start()\n"
        "say('ready')\nwhile True:\n    time.sleep(0.005)\n"
        "    for name, watch in (('first', first), ('second', second)):\n"
        "        if watch.pending:\n            say(name, 'saved')\n            watch.hand_on()"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == -TERM
    saved = [line for line in process.output.splitlines() if line.endswith(" saved")]
    assert saved == ["second saved", "first saved"]


def test_handlers_and_descriptor_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (TERM, USR1)]
    watch = SignalWatch(["SIGTERM", "SIGUSR1"], 60)
    for _ in range(2):
        watch.start()
        watch.start()
        assert signal.getsignal(USR1) not in before
        watch.close()
        watch.close()
        assert [signal.getsignal(number) for number in (TERM, USR1)] == before
        assert signal.set_wakeup_fd(-1) == -1
    assert not any(thread.name == "ckpt-signals" and not thread.daemon for thread in threading.enumerate())


def test_watches_may_be_closed_in_any_order() -> None:
    before = signal.getsignal(USR1)
    first, second = SignalWatch(["SIGUSR1"], 60), SignalWatch(["SIGUSR1"], 60)
    first.start()
    second.start()
    first.close()
    signal.raise_signal(USR1)
    assert (first.pending, second.pending) == (None, "SIGUSR1")
    second.close()
    try:
        signal.raise_signal(USR1)
        assert (first.pending, second.pending) == (None, None)
    finally:
        signal.signal(USR1, before)


def test_what_ends_the_process_is_named_first_and_counts_the_time() -> None:
    watch = SignalWatch(["SIGUSR1", "SIGTERM"], 60)
    watch.start()
    try:
        assert (watch.pending, watch.remaining_s) == (None, 60.0)
        signal.raise_signal(USR1)
        assert (watch.pending, watch.remaining_s) == ("SIGUSR1", 60.0)
        signal.raise_signal(TERM)
        assert watch.pending == "SIGTERM" and 0 < watch.remaining_s < 60
        watch._arrived.clear()
    finally:
        watch.close()


def test_the_descriptor_of_an_event_loop_is_left_to_it(start: Callable[[str], Any]) -> None:
    process = start(
        "import socket\nreading, writing = socket.socketpair()\nwriting.setblocking(False)\n"
        "signal.set_wakeup_fd(writing.fileno())\nwatch = SignalWatch(['SIGTERM'], 0.3)\nwatch.start()\n"
        "assert signal.set_wakeup_fd(writing.fileno()) == writing.fileno()\nsay('ready')\ntime.sleep(100)"
    )
    process.until("ready")
    process.send(TERM)
    assert process.wait() == -TERM and "nothing is saved" in process.output


def test_only_the_main_thread_can_and_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    before = signal.getsignal(TERM)
    watch = SignalWatch(["SIGTERM", "SIGUSR1"], 60)
    with caplog.at_level(logging.WARNING, "ckpt.saving"):
        thread = threading.Thread(target=watch.start)
        thread.start()
        thread.join()
    assert "SIGTERM, SIGUSR1 can be answered by the main thread only" in caplog.text
    assert signal.getsignal(TERM) is before and watch.pending is None
    watch.close()


def test_a_signal_that_the_platform_lacks_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    watch = SignalWatch(["SIGBREAK", "SIGUSR1"], 60)
    with caplog.at_level(logging.WARNING, "ckpt.saving"):
        watch.start()
    watch.close()
    assert "nothing is saved on SIGBREAK: this platform has none" in caplog.text
