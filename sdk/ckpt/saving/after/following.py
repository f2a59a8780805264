"""What follows a save in the training's own thread: history, warnings, the log, callbacks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ckpt.encoding import printable
from ckpt.retention.quantities import measured_text
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

    def learned(self, sent: Sent, save: Save) -> None:
        """Takes note of what came of a save; raises nothing. To be called once a save, well or not."""
        handle, outcome = save.handle, save.outcome
        if handle.status == "staged" and outcome is not None and outcome.staged is not None:
            self.staged.add(handle, save.job, outcome.staged, sent.saved.seq)
        elif handle.status != "saved":
            self._history().take_back(sent.saved.seq)

    def tell(self, sent: Sent, save: Save) -> None:
        """Warns, logs and calls back. To be called once a save, behind `learned`; warnings may be errors."""
        handle, outcome = save.handle, save.outcome
        for problem in () if outcome is None else outcome.told:
            tell(problem, log)
        if handle.status == "skipped":
            tell(handle.error().message, log)
        if handle.status not in ("saved", "staged"):
            return
        blocked_s = time.perf_counter() - sent.began if sent.blocked_s is None else sent.blocked_s
        log.info(
            "saved %s: %s; the training waited %s, the write took %s",
            printable(handle.path.name),
            measured_text(save.image.layout.size),
            _short(blocked_s),
            _short(0.0 if outcome is None else outcome.written_s),
        )
        self._run.flush()
        self._callbacks.fire(sent.state, None if handle.staged else str(handle.path))


def _short(seconds: float) -> str:
    """A time as people read it: `0.8 ms`, `120 ms`, `1.54 s`."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.2f} s"
