"""SIGKILL at the system calls of a save, of the training and of its writer: what was listed stays, the new is whole.

Two points of each by default; with CKPTD_FAULT_ROUNDS=10 or more every call of a save.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

CALLS = (
    "trace=%file,read,pread64,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,syncfs,"
    "sync_file_range,copy_file_range,sendfile,close,dup,dup2,dup3,lseek,fstat,fstatfs,getdents64,flock,fcntl,ioctl,"
    "fadvise64,memfd_create,mmap,munmap,sendmsg,recvmsg,sendto,recvfrom"
)

Start = Callable[..., Any]


def victim(training: Any, who: str) -> int:
    """The process that is killed: the training or its writer."""
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
    ("background", "who"), [(False, "training"), ("thread", "training"), ("process", "training"), ("process", "writer")]
)
def test_a_kill_at_any_call_of_a_save_loses_nothing(
    background: Any,
    who: str,
    promise: Start,
    trainer: Start,
    strace: Start,
    some: Callable[..., list[Any]],
    alive: Callable[[int], bool],
    record_property: Callable[[str, object], None],
) -> None:
    chosen, killed = some(points(promise, trainer, strace, who, background)), 0
    for number, point in enumerate(chosen):
        run = promise(f"run-{number}")
        training = trainer(run.run, background=background)
        assert "acked" in run.save(training, 1)
        writers, aimed = training.writers(), victim(training, who)
        killer = strace(aimed, "-e", f"trace={point.call}", "-e", f"inject={point.call}:signal=KILL:when={point.when}")
        answer = run.save(training, 2)
        killed += not alive(aimed)
        if who == "writer":
            assert "acked" in answer, f"another writer takes over: {answer}; {point}"
            assert "acked" in run.save(training, 3), point
        writers += training.writers()
        training.kill()
        run.settle(writers, point)
        killer.end()
        run.go_on(point, background=background)
        shutil.rmtree(run.run)
    record_property("kills", killed)
    assert killed > len(chosen) / 2, f"only {killed} of {len(chosen)} were killed where they were to be"
