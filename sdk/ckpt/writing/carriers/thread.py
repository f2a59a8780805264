"""Another thread of the training's process writes."""

from __future__ import annotations

import logging
import threading
from collections import deque

from ckpt.writing.carriers import lifetime
from ckpt.writing.carriers.base import PERFORM, Done, performer
from ckpt.writing.image import Image
from ckpt.writing.jobs import Job

log = logging.getLogger("ckpt.writing")


class ThreadCarrier:
    """One thread that lives while there are jobs: none while idle; the interpreter waits for one that is busy."""

    process_id = None

    def __init__(self, perform: str = PERFORM) -> None:
        """`perform` is called as `module:function`."""
        self._perform = performer(perform)
        self._closed = False
        self.forget()
        lifetime.watch(self)

    def forget(self) -> None:
        """Has nothing to do any more, as in a forked child, where the thread is not."""
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Job, Image, Done]] = deque()
        self._working = False

    def submit(self, job: Job, image: Image, done: Done) -> None:
        """See `Carrier.submit`. Where no thread can be started, such as at the interpreter's end, the caller works."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the carrier is closed")
            self._waiting.append((job, image, done))
            if self._working:
                return
            self._working = True
        try:
            threading.Thread(target=self._work, name="ckpt-writer").start()
        except RuntimeError:
            self._work()

    def close(self, timeout_s: float | None = None) -> None:
        """See `Carrier.close`."""
        with self._changed:
            self._closed = True
            if not self._changed.wait_for(lambda: not self._working, timeout_s):
                raise TimeoutError(f"a checkpoint is still being written after {timeout_s:g} s")

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._working = False
                    self._changed.notify_all()
                    return
                job, image, done = self._waiting.popleft()
            try:
                done(self._perform(job, image, log.warning))
            except Exception:  # of `done`: the next job must not suffer
                log.exception("the outcome of job %d was not taken", job.number)
            del job, image, done
