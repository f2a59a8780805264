"""The rules of one run, as its training asks them: the config, what was saved before, and the clock."""

from __future__ import annotations

import time

from ckpt.config import CheckpointConfig
from ckpt.runs import Run
from ckpt.saving.when import decisions, governing
from ckpt.saving.when.decisions import Urgent
from ckpt.saving.when.early_stopping import Patience
from ckpt.saving.when.history import History, Saved, read_history
from ckpt.state import TrainingState


class Rules:
    """What one manager goes by. Asking changes nothing."""

    def __init__(self, run: Run, config: CheckpointConfig) -> None:
        self._run = run
        self._config = config
        self._metric, self._mode = governing.followed(run, config)
        self._known: History | None = None
        self.patience = Patience(run, config, self._metric, self._mode)
        if run.silent:
            # Read before rank 0 saves anything, so that all ranks decide from the same past.
            self._known = self.history

    @property
    def history(self) -> History:
        """What the run has saved; read from its disk once, when it is first needed."""
        if self._known is None:
            attempt = self._run.attempt if self._run.training else None
            self._known = read_history(self._run.checkpoints(), self._metric, self._mode, attempt=attempt)
        return self._known

    def due(
        self, state: TrainingState, at_epoch_end: bool | None, urgent: Urgent = None, *, in_flight: bool = False
    ) -> tuple[str, ...]:
        """The rules that ask for a checkpoint of this state now, the weightiest first, as `decisions.due` has them."""
        now = time.monotonic()
        return decisions.due(
            state, self._config, self.history, at_epoch_end, now=now, in_flight=in_flight, urgent=urgent
        )

    def saved(self, state: TrainingState, due: tuple[str, ...], seq: int) -> Saved:
        """A save of this state, as the history has it."""
        value = decisions.monitored(state, self._metric)
        return Saved(seq, state.global_step, float(state.epoch), value, due, time.monotonic())

    def ask_after(self, error: BaseException, step: int) -> bool:
        """Whether a training that an exception ends at this step is to be saved once more."""
        return decisions.after_exception(error, self._config, self.history, step)
