"""A process of its own writes: the training loses neither its interpreter lock nor its life to it."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from ckpt.writing.carriers.base import PERFORM, Done
from ckpt.writing.carriers.serving import Serving
from ckpt.writing.image import Image
from ckpt.writing.jobs import Job


class ProcessCarrier:
    """A writer process, started by the first job and kept until `close`; a carrier that is forgotten ends it too.

    A job that a writer died over is performed once more by another, from the memory that is still there. Where no
    process can be had, and for images that lie in no shared memory, a thread performs the jobs.
    """

    def __init__(self, lock_fd: Callable[[], int | None] = lambda: None, perform: str = PERFORM) -> None:
        """`lock_fd` tells the descriptor of the run's lock, which the writer holds too while it has a job.

        `perform` is called as `module:function`.
        """
        self._serving = Serving(lock_fd, perform)
        weakref.finalize(self, self._serving.end).atexit = False

    @property
    def process_id(self) -> int | None:
        """The process that writes, while it lives."""
        return self._serving.process_id

    def submit(self, job: Job, image: Image, done: Done) -> None:
        """See `Carrier.submit`. When it returns, the writer has the job, and does it although this process is killed.

        Unless that took more than a second, as with a writer that hangs: the job is handed over later then.
        """
        self._serving.submit(job, image, done)

    def close(self, timeout_s: float | None = None) -> None:
        """See `Carrier.close`. A writer that hangs is not killed: once this process is gone, it ends after its jobs."""
        self._serving.close(timeout_s)
