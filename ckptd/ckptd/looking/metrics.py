"""The live numbers of trainings of other frameworks: the ends of the metric files that they write as they go."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ckpt.encoding import split_nonfinite
from ckpt.records import Run
from ckpt.scan import live
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events

_AT_ONCE = 50  # runs that are looked at in one go
_EVERY_S = 2.0  # between two looks at the same runs


class MetricTail:
    """Tells of new metrics of foreign runs that train. Not locked: one thread at a time."""

    def __init__(self, catalog: Catalog, events: Events) -> None:
        self._catalog = catalog
        self._events = events
        self._after = 0.0
        self._next = 0

    def follow(self) -> None:
        """Looks at the metric files of some of the trainings, all of them in turn."""
        now = time.monotonic()
        if now < self._after:
            return
        self._after = now + _EVERY_S
        training = [view.run for view in self._catalog.all() if not view.run.own and view.run.status == "training"]
        start = self._next if self._next < len(training) else 0
        for run in training[start : start + _AT_ONCE]:
            with contextlib.suppress(OSError):
                self._look(run)
        self._next = start + _AT_ONCE

    def _look(self, run: Run) -> None:
        reached = live.reached(Path(run.path))
        if reached is None or reached.at <= run.updated_at:
            return
        scalars = {"epoch": reached.epoch, "loss": reached.loss}
        known = {name: value for name, value in scalars.items() if value is not None}
        step = {} if reached.step is None else {"step": reached.step}
        self._catalog.touch(run.id, updated_at=reached.at, **known, **step)
        shown, nonfinite = split_nonfinite(known)
        epoch, loss = shown.get("epoch"), shown.get("loss")
        self._events.emit("state", run.id, step=reached.step, epoch=epoch, loss=loss, metrics={}, nonfinite=nonfinite)
