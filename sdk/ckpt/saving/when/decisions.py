"""When to save: pure functions over a state, the rules and what was saved before."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from ckpt.config import CheckpointConfig
from ckpt.saving.when.history import History
from ckpt.state import TrainingState, real

Urgent = Literal["exception", "signal"] | None
"""What asks for a save besides the rules."""

RETRY_S = 60.0
"""How long after a save that came to nothing the rule for minutes asks again, or its own minutes if these are less."""


def monitored(state: TrainingState, metric: str) -> float | None:
    """The value of a metric, `loss` included; None when the state has none of that name."""
    if metric in state.metrics:
        return real(state.metrics[metric], f"metrics.{metric}")
    return real(state.loss, "loss") if metric == "loss" else None


def due(
    state: TrainingState,
    config: CheckpointConfig,
    history: History,
    at_epoch_end: bool | None = None,
    *,
    now: float | None = None,
    in_flight: bool = False,
    urgent: Urgent = None,
) -> tuple[str, ...]:
    """The rules that ask for a checkpoint of this state, the weightiest first.

    They are `exception` or `signal` (what is `urgent`), `best`, `epoch`, `time`, `step`; each asks by itself. Asking
    changes nothing. `at_epoch_end` says where the training is; None is a loop that does not tell, where the epoch rule
    takes the first state of an epoch. A metric that is NaN, infinite or missing is never the best. `now` is the
    monotonic clock's time in seconds, without which the rule for minutes is silent, as it is while a save is
    `in_flight`.
    """
    rules: list[str] = [] if urgent is None else [urgent]
    metric = config.save_on_best_metric
    if metric is not None and history.is_better(monitored(state, metric)):
        rules.append("best")
    epochs, minutes, steps = config.save_every_n_epochs, config.save_every_n_minutes, config.save_every_n_steps
    in_turn = epochs is not None and at_epoch_end is not False and state.epoch % epochs == 0
    if in_turn and not history.asked("epoch", epoch=state.epoch):
        rules.append("epoch")
    if minutes is not None and now is not None and not in_flight and _time_is_up(history, minutes * 60, now):
        rules.append("time")
    in_turn = steps is not None and state.global_step > 0 and state.global_step % steps == 0
    if in_turn and not history.asked("step", step=state.global_step):
        rules.append("step")
    return tuple(rules)


def _time_is_up(history: History, seconds: float, now: float) -> bool:
    # A disk that stays full would otherwise be tried at every step.
    tried_lately = history.failed_at is not None and now - history.failed_at < min(seconds, RETRY_S)
    return now - history.saved_at >= seconds and not tried_lately


def waits(rules: Collection[str]) -> bool:
    """Whether a save that these rules ask for is worth waiting for: it is never left out for another one's sake."""
    return any(rule in rules for rule in ("best", "exception", "signal"))


def meets_on_all_ranks(config: CheckpointConfig) -> bool:
    """Whether all ranks of a training save at the same moments, to put their random states together.

    Their losses, clocks, signals and failed saves differ, so nothing of these may decide it.
    """
    return config.gather_random_states and config.save_random_state


def after_exception(error: BaseException | None, config: CheckpointConfig, history: History, step: int) -> bool:
    """Whether a training that an exception ends at `step` is to be saved once more.

    Not for a clean `sys.exit()` or a closed generator, which are ends as planned; and not when no step was done since
    the newest save that the training has behind it.
    """
    if not config.save_on_exception or error is None or isinstance(error, GeneratorExit):
        return False
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return False
    return step > 0 and history.last_step != step
