"""SIGKILL at the system calls of a save, of the training and of its writer: what was listed stays, the new is whole.

Two points of each by default; with CKPTD_FAULT_ROUNDS=10 or more every call of a save.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest

CALLS = (
    "trace=%file,pread64,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,syncfs,"
    "sync_file_range,copy_file_range,sendfile,close,dup,dup2,dup3,lseek,fstat,fstatfs,getdents64,flock,fcntl,"
    "fadvise64,memfd_create,sendmsg"
)

Start = Callable[..., Any]


def victim(training: Any, who: str) -> int:
    """The process that is killed at a call."""
    if who == "training":
        return int(training.pid)
    (writer,) = training.writers()
    return int(writer)


def points(promise: Any, trainer: Start, strace: Start, who: str, background: Any) -> list[Any]:
    """Every call of the victim in a training's second save."""
    watched = promise("watched")
    training = trainer(watched.run, background=background)
    watched.save(training, 1)
    tracer = strace(victim(training, who), "-e", CALLS)
    assert "acked" in watched.save(training, 2)
    tracer.end()
    training.do("end")
    found = tracer.calls(who)
    assert found, tracer.log.read_text()
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("background", "who"),
    [
        (False, "training"),
        ("thread", "training"),
        ("process", "training"),
        ("process", "writer"),
        ("process", "writer, then training"),
    ],
)
def test_a_kill_at_any_call_of_a_save_loses_nothing(
    background: Any,
    who: str,
    promise: Start,
    trainer: Start,
    strace: Start,
    some: Callable[..., list[Any]],
    alive: Callable[[int], bool],
    until: Callable[..., Any],
    record_property: Callable[[str, object], None],
) -> None:
    chosen, killed = some(points(promise, trainer, strace, who, background)), 0
    for number, point in enumerate(chosen):
        run = promise(f"run-{number}")
        training = trainer(run.run, background=background)
        assert "acked" in run.save(training, 1)
        aimed = victim(training, who)
        killer = strace(aimed, "-e", f"trace={point.call}", "-e", f"inject={point.call}:signal=KILL:when={point.when}")
        answer: dict[str, Any] = {}
        if who == "writer, then training":
            run.begun.add(2)
            training.ask("save", step=2)
            until(lambda training=training, aimed=aimed: not alive(aimed) or not training.waits())
        else:
            answer = run.save(training, 2)
        killed += not alive(aimed) or not (answer or who == "writer, then training")
        if who == "writer":
            assert "acked" in answer, f"another writer takes over: {answer}; {point}"
            assert "acked" in run.save(training, 3), point
        training.kill()
        run.settle(point)
        killer.end()
        run.go_on(point, background=background)
        shutil.rmtree(run.run)
    record_property("points", len(chosen))
    record_property("kills", killed)
    assert killed, f"none of {len(chosen)} was killed where it was to be"


@pytest.mark.usefixtures("turn")
def test_a_kill_while_the_writer_starts_leaves_no_process(
    promise: Start, trainer: Start, chance: random.Random
) -> None:
    run = promise()
    training = trainer(run.run, background="process")
    run.begun.add(1)
    training.ask("save", step=1)
    time.sleep(chance.uniform(0.0, 0.4))
    training.kill()
    run.settle()
    again = trainer(run.run, background="process")
    assert "acked" in run.save(again, 2)
    assert again.writers(), "a writer that lives is seen"
    assert again.do("end")["ended"]
    run.settle()
    run.check()
