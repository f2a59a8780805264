"""What all managers of one run share while its checkpoints are on their way to the disk."""

from __future__ import annotations

import atexit
import itertools
import logging
import weakref
from pathlib import Path

from ckpt.exceptions import SaveError
from ckpt.runs import Run
from ckpt.saving.sending.carrying import Carriers
from ckpt.saving.sending.names import Names
from ckpt.saving.sending.queue import SaveQueue
from ckpt.saving.sending.staging import Staging
from ckpt.telling import one_line

log = logging.getLogger("ckpt.saving")

_job_numbers = itertools.count(1)
_AT_EXIT_S = 60.0  # that an interpreter which ends waits for room on a disk


class Outbox:
    """The queue of a run's saves, who carries them, and the names and numbers that they get."""

    def __init__(self, run: Run) -> None:
        self.queue: SaveQueue[Staging] = SaveQueue(Staging)
        self.carriers = Carriers(lambda: run.lock_fd)
        self._names = Names(run)
        self._last_seq = 0

    @classmethod
    def of(cls, run: Run) -> Outbox:
        """The run's outbox; in a forked child one of its own."""
        while True:
            for part in run.under_way:
                if isinstance(part, cls) and part.queue.is_mine:
                    return part
            # Of two that are made at the same time, both threads find the first.
            made = cls(run)
            run.under_way.attach(made)
            _watch(made)

    def name(self, stem: str) -> tuple[Path, tuple[str, ...]]:
        """The file that the next save of this stem becomes, and the names before it, which are taken."""
        return self._names.free(stem, self.queue.names)

    def next_seq(self, least: int) -> int:
        """The number of the next save in the run, `least` or more. None is given twice, also when its save fails."""
        self._last_seq = max(least, self._last_seq + 1)
        return self._last_seq

    def next_job(self) -> int:
        """The number of the next job of this process."""
        return next(_job_numbers)

    def wait(self) -> None:
        """Waits until nothing is being written."""
        self.queue.wait()

    def close(self) -> None:
        """Waits for all saves, and gives memory, threads and processes back; may be called twice.

        A save after it begins anew. Raises SaveError for a failure that nobody was told of, and in a signal handler in
        the midst of a save.
        """
        if not self.queue.is_mine:
            return
        self.queue.in_turn(self._end)
        self.queue.raise_untold()

    def _end(self) -> None:
        self.queue.finish()
        self.carriers.close()
        self.queue.free()


_ending = False


def is_ending() -> bool:
    """Whether the interpreter is about to end: carriers are closed."""
    return _ending


_open: weakref.WeakSet[Outbox] = weakref.WeakSet()


def _watch(outbox: Outbox) -> None:
    """Before the carriers end with the interpreter, the queues have to hand them what still waits."""
    if not _open:
        # What is registered later is called earlier: the carriers register themselves with the first of them.
        outbox.carriers.get("thread")
        atexit.unregister(_wait_for_all)
        atexit.register(_wait_for_all)
    _open.add(outbox)


def _wait_for_all() -> None:
    global _ending
    _ending = True
    for outbox in list(_open):
        outbox.queue.cut_waits(_AT_EXIT_S, "the program ended")
    for outbox in list(_open):
        try:
            outbox.queue.finish()
            outbox.queue.raise_untold()
        except SaveError as error:
            log.error("%s", one_line(error))
