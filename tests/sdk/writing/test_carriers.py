"""Carriers with real threads and processes: order, deaths, forks, exits, and nothing left behind."""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.files import FileLock, pid_alive, read_json
from ckpt.runs import Run
from ckpt.writing.carriers import Carrier, InlineCarrier, ProcessCarrier, ThreadCarrier
from ckpt.writing.carriers import writer as writer_module
from ckpt.writing.image import LiveImage, Part, StagedImage
from ckpt.writing.jobs import Job, Outcome
from ckpt.writing.layout import frame, lay_out
from ckpt.writing.memory import SharedMemory

PATIENCE_S = 60.0

PERFORMER = """
import os, time
from pathlib import Path
from ckpt.writing.performing import perform as really

def held(job, image, tell):
    # Says in the run that it has begun, leaves a temporary file, and goes on when it may.
    run = Path(os.fsdecode(job.run))
    with (run / "begun").open("a") as log:
        log.write(f"{os.getpid()} {job.number}\\n")
    part = run / "checkpoints" / f".{job.stem}.json.{os.getpid()}-00000000.tmp"
    part.write_bytes(b"x")
    while not (run / "go").exists():
        time.sleep(0.01)
    part.unlink()
    return really(job, image, tell)

def broken(job, image, tell):
    raise RuntimeError("no such luck")

def killed(job, image, tell):
    if job.number == 1:
        raise SystemExit("asked to end")
    return really(job, image, tell)

def late(job, image, tell):
    outcome = really(job, image, tell)
    with open(os.path.join(os.fsdecode(job.run), "begun"), "a") as log:
        log.write(f"{os.getpid()} {job.number}\\n")
    time.sleep(600)
    return outcome
"""

SCRIPT = """
import os, pickle, sys, time
from pathlib import Path
from ckpt.runs import Run
from ckpt.writing.carriers import ProcessCarrier
from ckpt.writing.image import StagedImage
from ckpt.writing.jobs import Job
from ckpt.writing.layout import frame, lay_out
from ckpt.writing.memory import SharedMemory

run = Run.create("exp", sys.argv[1])
pickled = pickle.dumps({"format_version": 1}, 2)
layout = lay_out("archive", len(pickled), [1 << 20])
memory = SharedMemory(layout.size)
for offset, data in frame(layout, pickled):
    memory.view[offset : offset + len(data)] = data
image = StagedImage(memory=memory, layout=layout)
marker = {"run": run.id, "seq": 1, "attempt": 1, "step": 1, "epoch": 0.0, "saved_at": time.time(), "loss": 1.0,
          "metrics": {}, "label": "regular"}
job = Job(number=1, run=os.fsencode(run.directory), stem="step-000001", marker=marker)
outcomes = []
carrier = ProcessCarrier(lambda: run.lock_fd, *sys.argv[2:])
carrier.submit(job, image, outcomes.append)
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    with Run.create("exp", tmp_path / "runs") as made:
        yield made


@pytest.fixture
def performer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    place = tmp_path / "performers"
    place.mkdir()
    (place / "carriers_performer.py").write_text(PERFORMER)
    monkeypatch.syspath_prepend(str(place))
    sys.modules.pop("carriers_performer", None)
    return "carriers_performer"


def until(check: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came true")


def image(size: int = 1 << 20) -> StagedImage:
    pickled = pickle.dumps({"format_version": 1}, 2)
    layout = lay_out("archive", len(pickled), [size])
    memory = SharedMemory(layout.size)
    for offset, data in frame(layout, pickled):
        memory.view[offset : offset + len(data)] = data
    return StagedImage(memory=memory, layout=layout)


def job(run: Run, number: int, **more: Any) -> Job:
    marker = {"run": run.id, "seq": number, "attempt": 1, "step": number, "epoch": 0.0, "saved_at": time.time()}
    marker |= {"loss": 1.0, "metrics": {}, "label": "regular", **more.pop("marker", {})}
    return Job(number=number, run=os.fsencode(run.paths.directory), stem=f"step-{number:06d}", marker=marker, **more)


def begun(run: Run) -> list[tuple[int, int]]:
    """Writer and job of every attempt so far."""
    path = run.paths.directory / "begun"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines if len(line.split()) == 2]


def names(run: Run) -> list[str]:
    return sorted(os.listdir(run.paths.checkpoints))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("make", [InlineCarrier, ThreadCarrier, ProcessCarrier])
def test_outcomes_come_in_the_order_of_the_jobs(run: Run, make: Callable[[], Carrier]) -> None:
    outcomes: list[Outcome] = []
    carrier, images = make(), [image(), image(3 << 20)]
    for number in range(1, 7):
        carrier.submit(job(run, number), images[number % 2], outcomes.append)
    carrier.close()
    assert [(outcome.number, outcome.failure) for outcome in outcomes] == [(n, None) for n in range(1, 7)]
    assert [c.step for c in run.checkpoints()] == [6, 5, 4, 3, 2, 1]
    assert not isinstance(carrier, ProcessCarrier) or carrier.process_id is None
    carrier.close()
    with pytest.raises(RuntimeError):
        carrier.submit(job(run, 7), images[0], outcomes.append)


def test_the_writer_is_a_plain_process_that_no_terminal_reaches(run: Run) -> None:
    carrier, came = ProcessCarrier(lambda: run.lock_fd), threading.Event()
    carrier.submit(job(run, 1), image(), lambda outcome: came.set())
    assert came.wait(PATIENCE_S)
    pid = carrier.process_id
    assert pid is not None and os.getsid(pid) == pid
    mapped = Path(f"/proc/{pid}/maps").read_text()
    assert "torch" not in mapped and "numpy" not in mapped
    assert all(os.readlink(f"/proc/{pid}/fd/{fd}") == os.devnull for fd in (0, 1))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(pid, number)
    came.clear()
    carrier.submit(job(run, 2), image(), lambda outcome: came.set())
    assert came.wait(PATIENCE_S)
    assert carrier.process_id == pid
    carrier.close()
    assert not pid_alive(pid)


def test_what_messagepack_cannot_hold_comes_through(run: Run) -> None:
    outcomes: list[Outcome] = []
    carrier = ProcessCarrier()
    carrier.submit(
        job(run, 1, marker={"label": "a\udc80", "big": 2**70, "nan": [float("inf")]}), image(), outcomes.append
    )
    carrier.close()
    assert outcomes[0].failure is None and outcomes[0].marker is not None
    assert outcomes[0].marker["label"] == "a\udc80" and outcomes[0].marker["big"] == 2**70


def test_a_killed_writer_is_replaced_once_and_leaves_nothing(run: Run, performer: str) -> None:
    outcomes: list[Outcome] = []
    carrier = ProcessCarrier(perform=f"{performer}:held")
    one = image()
    for number in (1, 2):
        carrier.submit(job(run, number), one, outcomes.append)
    pid, number = until(lambda: begun(run))[0]
    assert number == 1
    os.kill(pid, signal.SIGKILL)
    (run.paths.directory / "go").touch()
    carrier.close()
    assert [(outcome.number, outcome.failure) for outcome in outcomes] == [(1, None), (2, None)]
    assert not pid_alive(pid)
    assert not [name for name in names(run) if name.endswith(".tmp")]


def test_two_deaths_over_a_job_fail_it_alone(run: Run, performer: str) -> None:
    outcomes: list[Outcome] = []
    carrier = ProcessCarrier(perform=f"{performer}:held")
    one = image()
    for number in (1, 2):
        carrier.submit(job(run, number), one, outcomes.append)
    pids = []
    for count in (1, 2):
        pids.append(until(lambda: len(begun(run)) == count and begun(run)[-1][0]))  # noqa: B023
        os.kill(pids[-1], signal.SIGKILL)
    until(lambda: len(begun(run)) == 3)
    (run.paths.directory / "go").touch()
    carrier.close()
    failure = outcomes[0].failure
    assert failure is not None and failure.kind == "died" and "SIGKILL" in failure.message
    assert outcomes[1].failure is None
    assert not any(pid_alive(pid) for pid in pids)
    assert [c.step for c in run.checkpoints()] == [2]
    assert not [name for name in names(run) if name.endswith(".tmp") or name.startswith("step-000001")]


def test_a_writer_that_dies_behind_the_commit_has_saved(run: Run, performer: str) -> None:
    outcomes: list[Outcome] = []
    carrier = ProcessCarrier(perform=f"{performer}:late")
    carrier.submit(job(run, 1), image(), outcomes.append)
    for count in (1, 2):
        os.kill(until(lambda: len(begun(run)) == count and begun(run)[-1][0]), signal.SIGKILL)  # noqa: B023
    carrier.close()
    assert [outcome.failure for outcome in outcomes] == [None]
    assert outcomes[0].path is not None and outcomes[0].path.endswith(b"step-000001.pt")
    assert [c.step for c in run.checkpoints()] == [1]


def test_a_performer_that_raises_fails_its_job_only(run: Run, performer: str) -> None:
    outcomes: list[Outcome] = []
    carrier = ProcessCarrier(perform=f"{performer}:broken")
    carrier.submit(job(run, 1), image(), outcomes.append)
    carrier.close()
    failure = outcomes[0].failure
    assert failure is not None and failure.kind == "failed" and "no such luck" in failure.message


@pytest.mark.parametrize("executable", ["/nonexistent/python", "/bin/false", ""])
def test_without_a_process_a_thread_writes_and_that_is_told_once(
    run: Run, executable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module.sys, "executable", executable)
    outcomes: list[Outcome] = []
    carrier = ProcessCarrier()
    for number in (1, 2):
        carrier.submit(job(run, number), image(), outcomes.append)
    carrier.close()
    assert [outcome.failure for outcome in outcomes] == [None, None]
    assert [sum("a thread writes" in told for told in outcome.told) for outcome in outcomes] == [1, 0]


def test_an_image_in_memory_of_its_own_is_written_in_its_turn(run: Run) -> None:
    outcomes: list[Outcome] = []
    carrier, staged = ProcessCarrier(), image()
    view = staged.memory.view
    live = LiveImage(staged.layout, [Part(0, staged.layout.size, lambda at, into: _copy(view, at, into))])
    carrier.submit(job(run, 1), staged, outcomes.append)
    carrier.submit(job(run, 2), live, outcomes.append)
    carrier.submit(job(run, 3), staged, outcomes.append)
    carrier.close()
    assert [(outcome.number, outcome.failure) for outcome in outcomes] == [(1, None), (2, None), (3, None)]


def _copy(source: memoryview, at: int, into: memoryview) -> None:
    into[:] = source[at : at + len(into)]


@pytest.mark.parametrize("make", [ThreadCarrier, ProcessCarrier])
def test_close_gives_up_waiting_and_can_wait_again(run: Run, performer: str, make: Callable[..., Carrier]) -> None:
    outcomes: list[Outcome] = []
    carrier = make(perform=f"{performer}:held")
    carrier.submit(job(run, 1), image(), outcomes.append)
    with pytest.raises(TimeoutError):
        carrier.close(0.05)
    assert outcomes == []
    (run.paths.directory / "go").touch()
    carrier.close(PATIENCE_S)
    assert [outcome.failure for outcome in outcomes] == [None]


def test_a_forgotten_carrier_ends_its_writer(run: Run) -> None:
    carrier, came = ProcessCarrier(), threading.Event()
    carrier.submit(job(run, 1), image(), lambda outcome: came.set())
    assert came.wait(PATIENCE_S)
    pid = carrier.process_id
    assert pid is not None
    del carrier
    gc.collect()
    until(lambda: not pid_alive(pid))


def test_descriptors_and_processes_do_not_grow(run: Run) -> None:
    outcomes: list[Outcome] = []
    one = image(1 << 16)
    carrier = ProcessCarrier(lambda: run.lock_fd)
    carrier.submit(job(run, 1), one, outcomes.append)
    until(lambda: len(outcomes) == 1)
    pid, before = carrier.process_id, descriptors()
    theirs = len(os.listdir(f"/proc/{pid}/fd"))
    for number in range(2, 42):
        carrier.submit(job(run, number, commit=False), one, outcomes.append)
    until(lambda: len(outcomes) == 41)
    assert descriptors() == before and len(os.listdir(f"/proc/{pid}/fd")) == theirs
    carrier.close()
    before = descriptors()
    for number in range(50, 55):
        carrier = ProcessCarrier(lambda: run.lock_fd)
        carrier.submit(job(run, number, commit=False), one, outcomes.append)
        carrier.close()
    assert descriptors() == before


@pytest.mark.parametrize("make", [ThreadCarrier, ProcessCarrier])
def test_a_forked_child_has_nothing_of_its_parents_and_may_save_itself(run: Run, make: Callable[[], Carrier]) -> None:
    outcomes: list[Outcome] = []
    carrier = make()
    carrier.submit(job(run, 1), image(), outcomes.append)
    until(lambda: outcomes)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            mine: list[Outcome] = []
            sockets = [n for n in os.listdir("/proc/self/fd") if _link(n).startswith("socket:")]
            clean = getattr(carrier, "process_id", None) is None and not sockets
            carrier.submit(job(run, 2), image(), mine.append)
            carrier.close()
            status = 0 if clean and len(mine) == 1 and mine[0].failure is None else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    carrier.submit(job(run, 3), image(), outcomes.append)
    carrier.close()
    assert [outcome.number for outcome in outcomes] == [1, 3]
    assert sorted(c.step or 0 for c in run.checkpoints()) == [1, 2, 3]


def _link(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""


def script(base: Path, *arguments: str, then: str = "", stdin: bool = False, path: Path | None = None) -> Any:
    """A training of its own that has submitted one job."""
    source = SCRIPT + textwrap.dedent(then)
    command = [sys.executable, "-", *arguments] if stdin else [sys.executable, "-c", source, *arguments]
    environment = {**os.environ, **({} if path is None else {"PYTHONPATH": str(path)})}
    process = subprocess.Popen(
        command, cwd=base, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    if stdin:
        process.stdin.write(source)
    process.stdin.close()
    process.stdin = None
    return process


@pytest.mark.parametrize("stdin", [False, True])
@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "raise ValueError('unhandled')"])
def test_the_end_of_the_interpreter_waits(tmp_path: Path, stdin: bool, ending: str) -> None:
    process = script(tmp_path, "runs", then=ending, stdin=stdin)
    process.communicate(timeout=PATIENCE_S)
    run = Run.open(tmp_path / "runs" / "exp")
    assert [c.step for c in run.checkpoints()] == [1]
    assert FileLock(run.paths.lock).is_free()


def test_a_killed_training_is_survived_by_what_it_submitted(tmp_path: Path, performer: str) -> None:
    place = tmp_path / "performers"
    then = "print(carrier.process_id, flush=True); time.sleep(600)"
    process = script(tmp_path, "runs", f"{performer}:held", then=then, path=place)
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    run = Run.open(tmp_path / "runs" / "exp")
    lock = FileLock(run.paths.lock)
    assert pid_alive(pid) and not lock.is_free()
    (run.paths.directory / "go").touch()
    until(lambda: not pid_alive(pid))
    assert lock.is_free()
    assert [c.step for c in run.checkpoints()] == [1]
    assert read_json(run.paths.checkpoints / "step-000001.json")["seq"] == 1


def test_an_idle_writer_ends_with_its_training_although_a_child_lives(tmp_path: Path) -> None:
    then = """
    while not outcomes:
        time.sleep(0.01)
    import ctypes
    child = ctypes.CDLL(None).fork()  # unseen by Python
    if child == 0:
        os.close(1)
        time.sleep(600)
    print(carrier.process_id, child, flush=True)
    time.sleep(600)
    """
    process = script(tmp_path, "runs", then=then)
    pid, child = map(int, process.stdout.readline().split())
    try:
        process.kill()
        process.communicate()
        until(lambda: not pid_alive(pid))
        assert pid_alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_lock_of_a_run_is_the_writers_only_while_it_works(run: Run) -> None:
    carrier, came = ProcessCarrier(lambda: run.lock_fd), threading.Event()
    carrier.submit(job(run, 1), image(), lambda outcome: came.set())
    assert came.wait(PATIENCE_S)
    run.close()
    with open(run.paths.lock) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    carrier.close()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("make", [ThreadCarrier, ProcessCarrier])
def test_an_interrupt_at_the_birth_of_the_thread_loses_no_job(
    run: Run, make: Callable[[], Carrier], before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        if not before:
            start(self)
        raise KeyboardInterrupt

    outcomes: list[Outcome] = []
    carrier = make()
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        carrier.submit(job(run, 1), image(), outcomes.append)
    carrier.close(PATIENCE_S)
    assert [(outcome.number, outcome.failure) for outcome in outcomes] == [(1, None)]


@pytest.mark.parametrize("executable", [sys.executable, ""])
@pytest.mark.parametrize("make", [ThreadCarrier, ProcessCarrier])
def test_a_performer_that_asks_to_end_fails_its_job_and_no_other(
    run: Run, performer: str, make: Callable[..., Carrier], executable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module.sys, "executable", executable)
    outcomes: list[Outcome] = []
    carrier, one = make(perform=f"{performer}:killed"), image()
    for number in (1, 2):
        carrier.submit(job(run, number), one, outcomes.append)
    carrier.close(PATIENCE_S)
    assert [outcome.number for outcome in outcomes] == [1, 2]
    assert outcomes[0].failure is not None and "step-000001 could not be saved" in outcomes[0].failure.message
    assert outcomes[1].failure is None or (make is ProcessCarrier and not executable)


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
@pytest.mark.parametrize("make", [ThreadCarrier, ProcessCarrier])
def test_an_outcome_that_is_not_taken_holds_nothing_up(
    run: Run, make: Callable[[], Carrier], kind: type[BaseException]
) -> None:
    outcomes: list[Outcome] = []

    def refuse(outcome: Outcome) -> None:
        outcomes.append(outcome)
        raise kind("no")

    carrier, one = make(), image()
    carrier.submit(job(run, 1), one, refuse)
    carrier.submit(job(run, 2), one, outcomes.append)
    carrier.close(PATIENCE_S)
    assert [(outcome.number, outcome.failure) for outcome in outcomes] == [(1, None), (2, None)]


def test_what_nobody_thought_of_fails_the_jobs_in_flight_and_the_next_save_works(
    run: Run, performer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each, and what the writer had committed by then is saved."""
    outcomes: list[Outcome] = []
    carrier, one = ProcessCarrier(perform=f"{performer}:held"), image()
    carrier.submit(job(run, 1), one, outcomes.append)
    until(lambda: begun(run))
    serving = carrier._serving
    received = serving._lock_fd
    serving._lock_fd = lambda: {}["nobody thought of it"]  # type: ignore[assignment, index]
    carrier.submit(job(run, 2), one, outcomes.append)
    (run.paths.directory / "go").touch()
    until(lambda: len(outcomes) == 2)
    assert outcomes[0].failure is None and outcomes[1].failure is not None
    assert "nobody thought of it" in outcomes[1].failure.message
    serving._lock_fd = received
    carrier.submit(job(run, 3), one, outcomes.append)
    carrier.close(PATIENCE_S)
    assert [outcome.number for outcome in outcomes] == [1, 2, 3] and outcomes[2].failure is None
    assert [c.step for c in run.checkpoints()] == [3, 1]


def test_a_staged_file_outlives_its_writer(run: Run, performer: str) -> None:
    outcomes: list[Outcome] = []
    for number in (1, 2):
        carrier = ProcessCarrier()
        carrier.submit(job(run, 7, commit=False), image(number << 20), outcomes.append)
        carrier.close(PATIENCE_S)
    carrier = ProcessCarrier(perform=f"{performer}:held")
    carrier.submit(job(run, 7), image(), outcomes.append)
    os.kill(until(lambda: begun(run))[0][0], signal.SIGKILL)  # what it leaves behind is cleared
    (run.paths.directory / "go").touch()
    carrier.close(PATIENCE_S)
    assert all(outcome.staged and os.path.exists(outcome.staged.path) for outcome in outcomes[:2])
    assert outcomes[2].failure is None
