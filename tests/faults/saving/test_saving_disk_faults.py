"""Disks that are full, or fail: the save raises, nothing of it is listed, what was there stays, and the next works.

A few failing calls by default; with CKPTD_FAULT_ROUNDS=10 or more every call of a save fails once.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]

WAYS = (False, "thread", "process")
ROOM = "size=48m,nr_inodes=200"  # a file of the tests has 9 MB
WRITING = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "fallocate", "ftruncate")
CALLS = (
    *WRITING,
    "openat,mkdir,mkdirat,link,linkat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat",
    "fsync,fdatasync,syncfs,sync_file_range,fadvise64,newfstatat,statx,fstat,fstatfs,statfs,getdents64,lseek",
    "read,pread64,fcntl,flock",
)


def fill(place: Path, kind: str) -> list[Path]:
    """Takes all room of a file system, or all its inodes; returns what has to go to free it."""
    filler = place / "filler"
    filler.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        for number in range(1000):
            with open(filler / str(number), "wb", buffering=0) as stream:
                while kind == "bytes":
                    stream.write(bytes(1 << 16))
    return [filler]


def free(fillers: list[Path]) -> None:
    for path in fillers:
        shutil.rmtree(path)


@pytest.mark.parametrize("kind", ["bytes", "inodes"])
@pytest.mark.parametrize("background", WAYS)
def test_a_full_disk_fails_a_save_and_the_next_works(
    background: Any, kind: str, tmp_path: Path, mounts: Any, promise: Start, trainer: Start, leftovers: Start
) -> None:
    mounts.tmpfs(tmp_path / "disk", ROOM)
    run = promise(tmp_path / "disk" / "run")
    training = trainer(run.run, background=background)
    assert "acked" in run.save(training, 1)
    fillers = fill(tmp_path / "disk", kind)
    answer = run.save(training, 2)
    assert answer.get("failed") == "SaveError", answer
    assert set(run.check()) == {1}
    free(fillers)
    assert "acked" in run.save(training, 3)
    assert set(run.check()) == {1, 3}
    assert leftovers(run.run) == []
    assert training.do("end")["ended"]


@pytest.mark.parametrize("background", ["thread", "process"])
def test_a_failure_that_nobody_asked_for_is_raised_by_the_next_save_and_by_the_end(
    background: Any, tmp_path: Path, mounts: Any, promise: Start, trainer: Start, until: Callable[..., Any]
) -> None:
    mounts.tmpfs(tmp_path / "disk", ROOM)
    run = promise(tmp_path / "disk" / "run")
    training = trainer(run.run, background=background)
    assert "acked" in run.save(training, 1)
    for step in (2, 4):
        run.begun.add(step)
        fillers = fill(tmp_path / "disk", "bytes")
        assert "started" in training.do("start", step=step)
        until(lambda step=step: training.do("status", step=step)["done"])
        assert training.do("status", step=step)["status"] == "failed"
        free(fillers)
        if step == 2:
            assert run.save(training, 3).get("failed") == "SaveError"
            assert "acked" in run.save(training, 3), "it is raised once"
    assert training.do("end").get("failed") == "SaveError"
    assert training.do("end").get("ended")
    assert set(run.check()) == {1, 3}
    training.kill()
    run.go_on(background=background)


@pytest.mark.parametrize("background", WAYS)
def test_a_save_without_room_may_leave_itself_out(
    background: Any, tmp_path: Path, mounts: Any, promise: Start, trainer: Start
) -> None:
    mounts.tmpfs(tmp_path / "disk", ROOM)
    run = promise(tmp_path / "disk" / "run")
    training = trainer(run.run, background=background, when_disk_full="skip")
    assert "acked" in run.save(training, 1)
    fillers = fill(tmp_path / "disk", "bytes")
    run.begun.add(2)
    assert "started" in training.do("start", step=2)
    assert training.do("result", step=2).get("failed") == "SaveError"
    assert training.do("status", step=2)["status"] == "skipped"
    free(fillers)
    assert "acked" in run.save(training, 3)
    assert training.do("end")["ended"]
    assert set(run.check()) == {1, 3}


@pytest.mark.parametrize("background", WAYS)
def test_a_save_without_room_may_wait_for_it(
    background: Any, tmp_path: Path, mounts: Any, promise: Start, trainer: Start
) -> None:
    mounts.tmpfs(tmp_path / "disk", ROOM)
    run = promise(tmp_path / "disk" / "run")
    training = trainer(run.run, background=background, when_disk_full="wait", disk_full_wait="10m")
    assert "acked" in run.save(training, 1)
    fillers = fill(tmp_path / "disk", "bytes")
    run.begun.add(2)
    training.ask("save", step=2)
    time.sleep(0.5)  # whether it waits already or not, it has to succeed
    assert set(run.check()) == {1}
    free(fillers)
    assert "acked" in training.answer()
    run.acked.add(2)
    assert training.do("end")["ended"]
    assert set(run.check()) == {1, 2}


def victim(training: Any, background: Any) -> int:
    """Who writes."""
    return int(training.writers()[0] if background == "process" else training.pid)


@pytest.mark.parametrize("fault", ["fsync,fdatasync:error=EIO", "pwrite64,pwritev,pwritev2,write:error=EDQUOT"])
@pytest.mark.parametrize("background", WAYS)
def test_a_disk_that_fails_for_a_while_is_told_of_and_used_again(
    background: Any, fault: str, promise: Start, trainer: Start, strace: Start, leftovers: Start
) -> None:
    run = promise()
    training = trainer(run.run, background=background)
    assert "acked" in run.save(training, 1)
    tracer = strace(victim(training, background), "-e", f"inject={fault}")
    answer = run.save(training, 2)
    tracer.end()
    assert answer.get("failed") == "SaveError", answer
    assert set(run.check()) == {1}
    assert "acked" in run.save(training, 3)
    assert training.do("end")["ended"]
    assert leftovers(run.run) == []
    assert set(run.check()) == {1, 3}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("background", WAYS)
def test_a_call_that_fails_once_fails_the_save_or_nothing(
    background: Any,
    promise: Start,
    trainer: Start,
    strace: Start,
    some: Callable[..., list[Any]],
    record_property: Callable[[str, object], None],
) -> None:
    watched = promise("watched")
    training = trainer(watched.run, background=background)
    watched.save(training, 1)
    tracer = strace(victim(training, background), "-e", f"trace={','.join(CALLS)}")
    assert "acked" in watched.save(training, 2)
    tracer.end()
    training.do("end")
    # Only calls on the run's files: what the training has besides is not the disk's.
    found = [point for point in tracer.calls(str(background)) if str(watched.run) in point.line]
    assert {"openat"} < {point.call for point in found}, found
    chosen = [(point, error) for point in some(found) for error in errors(point.call)]
    failed = 0
    for number, (point, error) in enumerate(chosen):
        run = promise(f"run-{number}")
        where = f"{error} at {point}"
        training = trainer(run.run, background=background)
        assert "acked" in run.save(training, 1)
        tracer = strace(
            victim(training, background),
            *("-e", f"trace={point.call}", "-e", f"inject={point.call}:error={error}:when={point.when}"),
        )
        answer = run.save(training, 2)
        tracer.end()
        assert "acked" in answer or answer.get("failed") == "SaveError", f"{answer}: {where}"
        failed += "failed" in answer
        listed = run.check(where)
        assert set(listed) == run.acked, f"{answer}: {where}"
        if point.call in ("fsync", "fdatasync") and ".pt." in point.line:
            assert "failed" in answer, f"what could not be synced was published: {where}"
        assert "acked" in run.save(training, 3), where
        assert training.do("end").get("ended"), where
        run.go_on(where, background=background)
        shutil.rmtree(run.run)
    record_property("failing calls", len(chosen))
    record_property("failed saves", failed)


def errors(call: str) -> tuple[str, ...]:
    """How a call may fail."""
    return ("EIO", "ENOSPC", "EDQUOT") if call in WRITING else ("EIO",)
