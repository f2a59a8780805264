"""The thread of a training that has all to do with its writer process: start, jobs, outcomes, death.

Nothing of it happens in the training's own threads, so an interrupt there leaves no message half sent.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ckpt.encoding import printable
from ckpt.writing.carriers import aftermath, lifetime
from ckpt.writing.carriers.base import Done, failed, performer
from ckpt.writing.carriers.messages import Came, Cut, Ready, Told, Write
from ckpt.writing.carriers.writer import CannotStart, Writer
from ckpt.writing.image import Image, StagedImage
from ckpt.writing.jobs import Failure, Job, Outcome
from ckpt.writing.memory import SharedMemory
from ckpt.writing.patience import patience
from ckpt.writing.worker import Worker

log = logging.getLogger("ckpt.writing")

_DEATHS_MAX = 2  # writers that may die over a job
_TAKEN_WITHIN_S = 1.0  # that a submit waits for its job to be with the writer


@dataclass(eq=False)
class _Given:
    """A job whose outcome has not come."""

    job: Job
    image: Image
    done: Done
    names: Collection[str]
    """Names of the job's family that were in use before."""
    taken: threading.Event = field(default_factory=threading.Event)
    """Whether it has been sent, or is being performed here."""
    sent: bool = False
    deaths: int = 0


class Serving:
    """The jobs of one carrier. Its thread lives while there is a job or a writer."""

    def __init__(self, lock_fd: Callable[[], int | None], perform: str) -> None:
        self._lock_fd = lock_fd
        self._perform = perform
        self._numbers = itertools.count(1)
        self._closed = False
        self._writer: Writer | None = None
        self._wake: tuple[int, int] | None = None
        self.forget()
        lifetime.watch(self)
        patience.tell(self)

    def forget(self) -> None:
        """Has no thread, process or job any more, as in a forked child; the next job gets a writer of its own."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.forget()
        self._close_wake()
        self._lock = threading.RLock()
        self._given: deque[_Given] = deque()
        self._is_serving = False
        self._worker = Worker("ckpt-writer")
        self._here: str | None = None  # why the jobs are performed in this process
        self._untold: list[str] = []
        self._cuts: deque[Cut] = deque()
        self._memories: weakref.WeakKeyDictionary[SharedMemory, int] = weakref.WeakKeyDictionary()
        self._known: set[int] = set()  # numbers of memories that the writer has mapped

    @property
    def process_id(self) -> int | None:
        """The writer, while it lives."""
        writer = self._writer
        return None if writer is None else writer.pid

    def submit(self, job: Job, image: Image, done: Done) -> None:
        """Returns when the writer has the job, which it performs even if this process is killed, or after a second."""
        given = _Given(job, image, done, aftermath.names_in_use(job))
        with self._lock:
            if self._closed:
                raise RuntimeError("the carrier is closed")
            self._given.append(given)
        self._run()
        if self._here is None and not self._worker.is_this_thread:
            given.taken.wait(_TAKEN_WITHIN_S)

    def close(self, timeout_s: float | None = None) -> None:
        """Waits for the outcomes and the writer's end. Raises TimeoutError; nothing is killed."""
        self.end()
        if self._given:
            self._run()
        if not self._worker.wait(timeout_s):
            raise TimeoutError(f"a checkpoint is still being written after {timeout_s:g} s")

    def end(self) -> None:
        """Takes no more jobs and ends when all outcomes have come; does not wait for that."""
        with self._lock:
            self._closed = True
            self._call()

    def cut(self, job: int, within_s: float, why: str) -> None:
        """See `Patience.cut`: the writer is told of it."""
        with self._lock:
            if any(given.job.number == job for given in self._given):
                self._cuts.append(Cut(job=job, within_s=within_s, why=why))
                self._call()

    def _run(self) -> None:
        """Has the thread look at the jobs; one that is not there yet will."""
        with self._lock:
            if self._is_serving:
                self._call()
                return
        self._worker.give(self._serve)

    def _call(self) -> None:
        wake = self._wake
        if wake is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(wake[1], b"!")

    def _close_wake(self) -> None:
        wake, self._wake = self._wake, None
        for fd in wake or ():
            os.close(fd)

    # In the thread

    def _serve(self) -> None:
        """Until there is neither job nor writer. Whatever happens, each job gets an outcome."""
        with self._lock:
            self._is_serving = True
            if not self._worker.is_this_thread:
                self._here = self._here or "no thread can be had"
            try:
                self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
            except OSError as error:
                self._here = self._here or str(error)
        try:
            while self._is_serving:
                self._serve_next()
        except BaseException as error:
            with self._lock:
                self._is_serving = False
                self._close_wake()
            self._give_up(error)
            raise

    def _serve_next(self) -> None:
        with self._lock:
            if not self._given and self._writer is None:
                self._is_serving = False
                self._close_wake()
                return
            unsent = next((given for given in self._given if not given.sent), None)
        if unsent is not None:
            self._hand_over(unsent)
        elif self._closed and not self._given and self._writer is not None:
            self._writer.channel.finish()
        if self._writer is not None:
            while self._cuts:
                with contextlib.suppress(OSError):
                    self._writer.channel.send(self._cuts.popleft())
            self._listen(self._writer)

    def _hand_over(self, given: _Given) -> None:
        """Gives a job to the writer; what no writer can take is performed here, when its turn has come."""
        reason = self._here
        if reason is None:
            try:
                self._send(given)
                given.sent = True
                given.taken.set()
                return
            except CannotStart as error:
                reason = self._here = f"no writer process can be started, so a thread writes: {error}"
                self._untold.append(reason)
            except (TypeError, ValueError) as error:
                log.debug("job %d stays in this process: %s", given.job.number, error)
        if self._given[0] is given:
            given.taken.set()
            self._came(self._performed(given))

    def _performed(self, given: _Given) -> Outcome:
        try:
            return performer(self._perform)(given.job, given.image, log.warning)
        except Exception as error:  # noqa: BLE001
            return failed(given.job, error)

    def _send(self, given: _Given) -> None:
        """Raises CannotStart, and TypeError or ValueError for what no other process can take."""
        image = given.image
        if not isinstance(image, StagedImage) or image.memory.fd is None:
            raise TypeError("its memory is this process's own")
        if self._writer is None:
            self._known.clear()
            self._writer = Writer(self._perform)
        number = self._memories.setdefault(image.memory, next(self._numbers))
        dropped = self._known - set(self._memories.values())
        self._known = (self._known - dropped) | {number}
        message = Write(
            job=given.job,
            layout=image.layout,
            known=dict(image.known),
            memory=number,
            memory_size=image.memory.size,
            dropped=tuple(dropped),
        )
        lock = self._lock_fd()
        with contextlib.suppress(OSError):  # a writer that is gone is seen when it is listened to
            self._writer.channel.send(message, [image.memory.fd] if lock is None else [image.memory.fd, lock])

    def _listen(self, writer: Writer) -> None:
        """Until the writer has said something, or ended, or there is something new to do."""
        if self._wake is not None and not writer.channel.wait(self._wake[0]):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake[0], 4096)
            return
        try:
            message, _ = writer.channel.receive()
        except EOFError:
            self._bury(writer)
            return
        if isinstance(message, Ready):
            writer.ready = True
        elif isinstance(message, Told):
            log.warning("%s", message.text)
        elif isinstance(message, Came):
            self._came(message.outcome)

    def _came(self, outcome: Outcome) -> None:
        """The outcome of the oldest job."""
        given = self._given.popleft()
        if self._untold:
            outcome = outcome.evolve(told=(*outcome.told, *self._untold))
            self._untold.clear()
        try:
            given.done(outcome)
        except Exception:
            log.exception("the outcome of job %d was not taken", given.job.number)

    def _bury(self, writer: Writer) -> None:
        """The writer has ended. The job that it was at gets another, once; those behind it were not begun."""
        ending = writer.bury()
        self._writer = None
        lost = [given for given in self._given if given.sent]
        for given in lost:
            given.sent = False
        if not lost:
            return
        if not writer.ready:
            self._here = f"the writer process did not start, so a thread writes: it {ending}"
            self._untold.append(self._here)
            return
        given = lost[0]
        given.deaths += 1
        log.warning("the writer process %s; %s was being written", ending, given.job.stem)
        aftermath.clear_temporaries(given.job, writer.pid)
        if given.deaths >= _DEATHS_MAX:
            self._came(_given_up(given, f"the writer process {ending}, as did the one before it"))

    def _give_up(self, error: BaseException) -> None:
        """Something went wrong that nobody thought of: the jobs in flight end as they stand."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.bury()  # it ends behind the jobs that it has: nobody may change their memory before
        reason = str(error) or type(error).__name__
        while self._given:
            given = self._given[0]
            given.taken.set()
            self._came(_given_up(given, reason) if given.sent else failed(given.job, error))


def _given_up(given: _Given, reason: str) -> Outcome:
    """What came of a job that nobody performs any more; the last who did may have ended behind the commit."""
    outcome = None
    with contextlib.suppress(OSError):
        outcome = aftermath.committed(given.job)
    if outcome is not None:
        return outcome
    aftermath.clear_uncommitted(given.job, given.names)
    message = f"{printable(given.job.stem)} could not be saved: {reason}"
    hint = "earlier checkpoints are untouched"
    return Outcome(number=given.job.number, failure=Failure(kind="died", message=message, hint=hint))
