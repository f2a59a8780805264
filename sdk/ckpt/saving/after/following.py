"""What follows a save in the training's own thread: history, warnings, the log, callbacks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ckpt.encoding import printable
from ckpt.retention.quantities import size_text
from ckpt.runs import Run
from ckpt.saving.after.callbacks import Callbacks
from ckpt.saving.after.staged import StagedSaves
from ckpt.saving.sending.queue import Save
from ckpt.saving.when.history import History, Saved
from ckpt.state import TrainingState
from ckpt.telling import tell

log = logging.getLogger("ckpt.saving")


@dataclass
class Sent:
    """What is to be known of a save when it has ended."""

    saved: Saved
    state: TrainingState
    began: float = field(default_factory=time.perf_counter)
    """When the training began to wait for it, by the performance counter."""
    blocked_s: float | None = None
    """How long the training waited; None while it does."""


class Following:
    """What one manager does when a save of its own has ended."""

    def __init__(self, run: Run, history: Callable[[], History], callbacks: Callbacks) -> None:
        self.staged = StagedSaves(lambda seq: history().take_back(seq))
        self._run = run
        self._history = history
        self._callbacks = callbacks

    def settled(self, sent: Sent, save: Save) -> None:
        """Does it. To be called once a save, well or not."""
        handle, outcome = save.handle, save.outcome
        if handle.status == "staged" and outcome is not None and outcome.staged is not None:
            self.staged.add(handle, save.job, outcome.staged, sent.saved.seq)
        elif handle.status != "saved":
            self._history().take_back(sent.saved.seq)
        for problem in () if outcome is None else outcome.told:
            tell(problem, log)
        if handle.status == "skipped":
            tell(handle.error().message, log)
        if handle.status not in ("saved", "staged"):
            return
        blocked_s = time.perf_counter() - sent.began if sent.blocked_s is None else sent.blocked_s
        log.info(
            "saved %s: %s, %.1f ms of the training, written in %.2f s",
            printable(handle.path.name),
            size_text(save.image.layout.size),
            blocked_s * 1000,
            0.0 if outcome is None else outcome.written_s,
        )
        self._run.flush()
        self._callbacks.fire(sent.state, None if handle.staged else str(handle.path))
