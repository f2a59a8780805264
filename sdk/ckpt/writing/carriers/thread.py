"""Another thread of the training's process writes."""

from __future__ import annotations

import logging
from functools import partial

from ckpt.writing.carriers import lifetime
from ckpt.writing.carriers.base import PERFORM, Done, failed, performer
from ckpt.writing.image import Image
from ckpt.writing.jobs import Job
from ckpt.writing.worker import Worker

log = logging.getLogger("ckpt.writing")


class ThreadCarrier:
    """One thread that lives while there are jobs: none while idle. The interpreter's end waits for it."""

    def __init__(self, perform: str = PERFORM) -> None:
        """`perform` is called as `module:function`."""
        self._perform = performer(perform)
        self._closed = False
        self.forget()
        lifetime.watch(self)

    def forget(self) -> None:
        """Has nothing to do any more, as in a forked child, where the thread is not."""
        self._worker = Worker("ckpt-writer")

    def submit(self, job: Job, image: Image, done: Done) -> None:
        """See `Carrier.submit`. Where no thread can be started, such as at the interpreter's end, the caller works."""
        if self._closed:
            raise RuntimeError("the carrier is closed")
        self._worker.give(partial(self._do, job, image, done))

    def close(self, timeout_s: float | None = None) -> None:
        """See `Carrier.close`."""
        self._closed = True
        if not self._worker.wait(timeout_s):
            raise TimeoutError(f"a checkpoint is still being written after {timeout_s:g} s")

    def _do(self, job: Job, image: Image, done: Done) -> None:
        try:
            outcome = self._perform(job, image, log.warning)
        except BaseException as error:
            done(failed(job, error))
            raise
        done(outcome)
