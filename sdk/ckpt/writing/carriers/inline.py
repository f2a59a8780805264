"""The training's own thread writes."""

from __future__ import annotations

import logging

from ckpt.writing.carriers.base import PERFORM, Done, performer
from ckpt.writing.image import Image
from ckpt.writing.jobs import Job

log = logging.getLogger("ckpt.writing")


class InlineCarrier:
    """`submit` returns when all is done."""

    def __init__(self, perform: str = PERFORM) -> None:
        """`perform` is called as `module:function`."""
        self._perform = performer(perform)
        self._closed = False

    def submit(self, job: Job, image: Image, done: Done) -> None:
        """See `Carrier.submit`. What interrupts the training passes through, and `done` is not called then."""
        if self._closed:
            raise RuntimeError("the carrier is closed")
        done(self._perform(job, image, log.warning))

    def close(self, timeout_s: float | None = None) -> None:
        """See `Carrier.close`."""
        self._closed = True
