"""The queue of saves: who waits, who is left out, who gives way, and how all of it is told."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import SaveError
from ckpt.protocol import checkpoint_to_json
from ckpt.records import Checkpoint
from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.sending import queue
from ckpt.saving.sending.queue import Save, SaveQueue
from ckpt.writing.image import Image
from ckpt.writing.jobs import Failure, Job, Outcome
from ckpt.writing.jobs import Staged as StagedFile
from ckpt.writing.layout import Layout, lay_out

LIMIT_S = 30.0


def nothing(_: Save) -> None:
    pass


class Place:
    """Memory that says what was done with it."""

    def __init__(self) -> None:
        self.remembered: list[tuple[int, ...]] = []
        self.closed = False

    def remember(self, layout: Layout, crcs: Sequence[int]) -> None:
        self.remembered.append(tuple(crcs))

    def close(self) -> None:
        self.closed = True


class Bytes:
    def __init__(self) -> None:
        self.layout = lay_out("archive", 10, [])
        self.known: dict[int, int] = {}

    def chunks(self) -> Any:
        return iter(())


class Held:
    """A carrier that performs nothing until it is told what comes of a job; each outcome comes in its own thread."""

    process_id = None

    def __init__(self) -> None:
        self.jobs: list[tuple[Job, Callable[[Outcome], None]]] = []
        self.closed = 0
        self.refusal: BaseException | None = None

    def submit(self, job: Job, image: Image, done: Callable[[Outcome], None]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.jobs.append((job, done))

    def close(self, timeout_s: float | None = None) -> None:
        self.closed += 1

    @property
    def numbers(self) -> list[int]:
        return [job.number for job, _ in self.jobs]

    def end(self, failure: Failure | None = None, **fields: Any) -> None:
        job, done = self.jobs.pop(0)
        if failure is not None or fields:
            outcome = Outcome(number=job.number, failure=failure, **fields)
        else:
            outcome = saved(job)
        thread = threading.Thread(target=done, args=(outcome,))
        thread.start()
        thread.join(LIMIT_S)
        assert not thread.is_alive()


class AtOnce(Held):
    def submit(self, job: Job, image: Image, done: Callable[[Outcome], None]) -> None:
        done(saved(job))


def saved(job: Job) -> Outcome:
    path = f"/r/checkpoints/{job.stem}.pt"
    record = Checkpoint(id=f"id{job.number}", run="r", path=path, framework="ckpt", step=job.number)
    return Outcome(
        number=job.number, path=os.fsencode(path), record=checkpoint_to_json(record), crcs=(job.number,), written_s=0.5
    )


class Bench:
    """A queue, a carrier, and what the training was told, in order."""

    def __init__(self, carrier: Held | None = None) -> None:
        self.queue: SaveQueue[Place] = SaveQueue(Place)
        self.carrier = carrier or Held()
        self.told: list[tuple[int, str]] = []
        self.thread: list[int] = []

    def save(self, number: int, *, sure: bool = False, memory: Place | None = None) -> SavedCheckpoint:
        stem = f"step-{number:06d}"
        handle = SavedCheckpoint(Path(f"/r/checkpoints/{stem}.pt"), self.queue.settle, self.queue.turns)
        save = Save(
            handle, Job(number=number, run=b"/r", stem=stem), Bytes(), self.carrier, nothing, self.settled, memory, sure
        )
        self.queue.put(save)
        return handle

    def settled(self, save: Save) -> None:
        self.thread.append(threading.get_ident())
        self.told.append((save.job.number, save.handle.status))

    def offer(self, number: int, when_busy: Any, *, sure: bool = False) -> SavedCheckpoint | None:
        """What a save does, as a training does it."""
        if not self.queue.admit(when_busy, sure=sure, two=when_busy == "coalesce"):
            return None
        return self.save(number, sure=sure, memory=self.queue.memory())


@pytest.fixture
def bench() -> Bench:
    return Bench()


FULL = Failure(kind="full", message="no room", hint="make some", errno=28)


def in_thread(act: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    out: list[Any] = []
    thread = threading.Thread(target=lambda: out.append(act()))
    thread.start()
    return thread, out


def test_one_is_written_and_then_told(bench: Bench) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None
    assert (handle.status, handle.done(), handle.path.name) == ("writing", False, "step-000001.pt")
    assert [bench.queue.busy, bench.queue.names] == [True, {"step-000001.pt"}]
    bench.carrier.end()
    assert (handle.status, handle.done(), handle.id) == ("saved", True, "id1")
    assert [bench.queue.busy, bench.queue.names] == [False, set()]
    assert bench.told == []
    bench.queue.settle()
    bench.queue.settle()
    assert bench.told == [(1, "saved")]
    assert bench.thread == [threading.get_ident()]


def test_block_waits_for_the_one_before(bench: Bench) -> None:
    bench.offer(1, "block")
    thread, admitted = in_thread(lambda: bench.queue.admit("block"))
    thread.join(0.05)
    assert thread.is_alive()
    bench.carrier.end()
    thread.join(LIMIT_S)
    assert admitted == [True]


def test_skip_leaves_out_while_one_is_written_but_never_a_sure_one(bench: Bench) -> None:
    assert bench.offer(1, "skip") is not None
    assert bench.offer(2, "skip") is None
    thread, admitted = in_thread(lambda: bench.queue.admit("skip", sure=True))
    thread.join(0.05)
    assert thread.is_alive()
    bench.carrier.end()
    thread.join(LIMIT_S)
    assert admitted == [True]
    assert bench.offer(3, "skip") is not None


def test_coalesce_writes_the_newest_of_those_that_waited(bench: Bench) -> None:
    handles = [bench.offer(number, "coalesce") for number in (1, 2, 3, 4)]
    assert [h.status for h in handles if h] == ["writing", "superseded", "superseded", "writing"]
    assert bench.carrier.numbers == [1]
    bench.carrier.end()
    assert bench.carrier.numbers == [4]
    bench.carrier.end()
    bench.queue.settle()
    assert bench.told == [(2, "superseded"), (3, "superseded"), (1, "saved"), (4, "saved")]
    with pytest.raises(SaveError, match=r"step-000002\.pt was not written: a newer save took its place"):
        handles[1].result()  # type: ignore[union-attr]
    bench.queue.raise_untold()


def test_a_sure_one_that_waits_gives_way_to_nobody(bench: Bench) -> None:
    bench.offer(1, "coalesce")
    best = bench.offer(2, "coalesce", sure=True)
    thread, handles = in_thread(lambda: bench.offer(3, "coalesce"))
    thread.join(0.05)
    assert thread.is_alive()
    bench.carrier.end()
    thread.join(LIMIT_S)
    assert bench.carrier.numbers == [2]
    bench.carrier.end()
    bench.carrier.end()
    assert best is not None
    assert (best.status, handles[0].status) == ("saved", "saved")


def test_a_sure_one_takes_the_place_of_an_older_one(bench: Bench) -> None:
    handles = [bench.offer(n, "coalesce", sure=n == 3) for n in (1, 2, 3)]
    bench.carrier.end()
    bench.carrier.end()
    assert [h.status for h in handles if h] == ["saved", "superseded", "saved"]


def test_memory_is_used_again_only_when_its_image_was_written(bench: Bench) -> None:
    places = []
    for number in (1, 2):
        bench.queue.admit("coalesce", two=True)
        places.append(bench.queue.memory())
        bench.save(number, memory=places[-1])
    assert places[0] is not places[1]
    bench.queue.admit("coalesce", two=True)  # number 2 gives way
    assert bench.queue.memory() is places[1]
    bench.save(3, memory=places[1])
    bench.carrier.end()
    assert bench.queue.memory() is places[0]
    bench.carrier.end(FULL)
    assert [place.remembered for place in places] == [[(1,)], []]
    bench.queue.free()
    assert all(place.closed for place in places)


def test_memory_that_cannot_be_had_leaves_the_queue_as_it_was() -> None:
    def none() -> Place:
        raise MemoryError("no")

    queue: SaveQueue[Place] = SaveQueue(none)
    assert queue.admit()
    with pytest.raises(MemoryError):
        queue.memory()
    assert queue.admit()
    queue.finish()


@pytest.mark.parametrize("kind", ["failed", "full", "died"])
def test_a_failure_is_raised_by_the_result_as_often_as_asked_and_then_by_nobody_else(bench: Bench, kind: Any) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None
    bench.carrier.end(Failure(kind=kind, message="it broke", hint="mend it"))
    for _ in range(2):
        with pytest.raises(SaveError, match="it broke\nmend it"):
            handle.result()
    assert str(handle) == "/r/checkpoints/step-000001.pt"
    with pytest.raises(SaveError):
        os.fspath(handle)
    bench.queue.raise_untold()
    bench.queue.finish()
    assert (handle.status, bench.told) == ("failed", [(1, "failed")])


def test_a_failure_that_nobody_asked_for_is_raised_once(bench: Bench) -> None:
    handle = bench.offer(1, "block")
    bench.carrier.end(FULL)
    with pytest.raises(SaveError, match="no room"):
        bench.queue.raise_untold()
    bench.queue.raise_untold()
    with pytest.raises(SaveError, match="no room"):
        handle.result()  # type: ignore[union-attr]


def test_of_several_failures_the_first_is_raised_and_the_others_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        bench.offer(number, "coalesce")
    bench.carrier.end(FULL)
    bench.carrier.end(Failure(kind="failed", message="another"))
    with pytest.raises(SaveError, match="no room"):
        bench.queue.raise_untold()
    assert [record.getMessage() for record in caplog.records] == ["another"]
    bench.queue.raise_untold()


def test_what_was_skipped_for_want_of_room_is_no_failure(bench: Bench) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None
    bench.carrier.end(Failure(kind="skipped", message="skipped: no room"))
    bench.queue.raise_untold()
    assert (handle.status, bench.told) == ("skipped", [(1, "skipped")])
    with pytest.raises(SaveError, match="skipped: no room"):
        handle.result()


def test_a_staged_one_has_a_temporary_path(bench: Bench) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None
    bench.carrier.end(
        staged=StagedFile(path=b"/r/.x.tmp", stem="step-000001", size=1, hash="", fingerprint="", inode=1)
    )
    assert (handle.status, handle.staged, os.fspath(handle), str(handle)) == ("staged", True, "/r/.x.tmp", "/r/.x.tmp")
    with pytest.raises(SaveError, match="staged"):
        handle.result()


def test_a_carrier_that_refuses_is_a_failure_and_the_queue_goes_on(bench: Bench) -> None:
    bench.carrier.refusal = RuntimeError("the carrier is closed")
    with pytest.raises(RuntimeError, match="the carrier is closed"):
        bench.offer(1, "block")
    bench.queue.raise_untold()
    assert bench.carrier.closed == 1
    bench.carrier.refusal = None
    bench.offer(2, "block")
    bench.carrier.end()
    assert bench.told == [(1, "failed")]


def test_an_interrupt_while_a_job_is_handed_over_waits_for_what_the_carrier_has(bench: Bench) -> None:
    bench.carrier.refusal = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.offer(1, "block")
    assert bench.carrier.closed == 1
    assert not bench.queue.busy
    bench.queue.raise_untold()
    bench.carrier.refusal = None
    assert bench.offer(2, "block") is not None
    bench.carrier.end()
    bench.queue.settle()
    assert bench.told == [(1, "failed"), (2, "saved")]


def test_an_interrupt_while_waiting_changes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    for wait in (lambda: bench.queue.admit("block"), handle.result):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Condition, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                wait()
    assert (handle.status, bench.queue.busy) == ("writing", True)
    bench.carrier.end()
    assert handle.result().id == "id1"


def test_a_result_has_a_timeout(bench: Bench) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None
    with pytest.raises(TimeoutError, match=r"step-000001\.pt is still being written after 0\.01 s"):
        handle.result(timeout=0.01)
    assert handle.status == "writing"
    bench.carrier.end()
    assert handle.result(timeout=0).id == "id1"


def test_another_thread_may_ask_but_what_follows_a_save_waits_for_the_training(bench: Bench) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None
    thread, results = in_thread(handle.result)
    bench.carrier.end()
    thread.join(LIMIT_S)
    assert results[0].id == "id1"
    assert bench.told == []
    assert handle.result() == results[0]
    assert bench.told == [(1, "saved")]


def test_str_waits_until_it_is_there(bench: Bench) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None
    assert "writing" in repr(handle)
    thread, told = in_thread(handle.__str__)
    thread.join(0.05)
    assert thread.is_alive()
    bench.carrier.end()
    thread.join(LIMIT_S)
    assert told == ["/r/checkpoints/step-000001.pt"]


def test_a_carrier_may_be_done_at_once() -> None:
    bench = Bench(AtOnce())
    handle = bench.offer(1, "block")
    assert handle is not None
    assert handle.result().id == "id1"
    assert bench.told == [(1, "saved")]


def test_what_follows_a_save_may_save_again(bench: Bench) -> None:
    again: list[SavedCheckpoint | None] = []

    def settled(save: Save) -> None:
        bench.told.append((save.job.number, save.handle.status))
        if save.job.number == 1:
            again.append(bench.offer(2, "block"))

    bench.settled = settled  # type: ignore[method-assign]
    bench.offer(1, "block")
    bench.carrier.end()
    bench.queue.settle()
    bench.carrier.end()
    bench.queue.settle()
    assert bench.told == [(1, "saved"), (2, "saved")]


def test_close_waits_and_a_save_after_it_begins_anew(bench: Bench) -> None:
    bench.offer(1, "block")
    thread, _ = in_thread(bench.queue.finish)
    thread.join(0.05)
    assert thread.is_alive()
    bench.carrier.end()
    thread.join(LIMIT_S)
    assert bench.told == [(1, "saved")]
    bench.queue.finish()
    assert bench.offer(2, "block") is not None
    bench.carrier.end()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_neither_waits_nor_settles(bench: Bench) -> None:
    handle = bench.offer(1, "block")
    assert handle is not None
    child = os.fork()
    if child == 0:
        code = 1
        try:
            bench.queue.wait()
            bench.queue.finish()
            told = str(handle) == str(handle.path) and not bench.queue.is_mine
            try:
                handle.result()
            except SaveError as error:
                code = 0 if told and f"process {os.getppid()}" in error.message else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    bench.carrier.end()
    assert handle.result().id == "id1"


def test_an_outcome_that_cannot_be_taken_is_a_failure_and_the_queue_goes_on(bench: Bench) -> None:
    handle, later = bench.offer(1, "coalesce"), bench.offer(2, "coalesce")
    assert handle is not None and later is not None
    bench.carrier.end(path=b"/r/x.pt", record={"no": "record"})
    with pytest.raises(SaveError, match="what came of step-000001 cannot be told"):
        handle.result(LIMIT_S)
    bench.carrier.end()
    assert later.result(LIMIT_S).id == "id2"


def test_memory_that_cannot_remember_fails_no_save(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Place, "remember", None)
    handle = bench.offer(1, "block")
    assert handle is not None
    bench.carrier.end()
    assert handle.result(LIMIT_S).id == "id1"
    assert not bench.queue.busy


def test_one_that_waits_gives_way_when_the_newer_one_is_there_and_not_before(bench: Bench) -> None:
    bench.offer(1, "coalesce")
    waiting = bench.offer(2, "coalesce")
    assert waiting is not None
    assert bench.queue.admit("coalesce", two=True)
    assert waiting.status == "writing"
    bench.carrier.end()
    bench.carrier.end()
    assert waiting.result(LIMIT_S).id == "id2"


def test_who_waits_for_long_is_told_for_whom(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue, "SLOW_S", 0.01)
    bench.offer(1, "block")
    ended = threading.Event()

    class Ends(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ended.set()

    handler = Ends()
    monkeypatch.setattr(queue.log, "handlers", [*queue.log.handlers, handler])
    thread, admitted = in_thread(lambda: bench.queue.admit("block"))
    assert ended.wait(LIMIT_S)
    bench.carrier.end()
    thread.join(LIMIT_S)
    assert admitted == [True]
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"a save waits 0.01 s for step-000001.pt, which a thread of process {os.getpid()} is still writing"]
