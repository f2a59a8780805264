"""When to save: pure functions over a state, the rules and what was saved before."""

from __future__ import annotations

from ckpt.config import CheckpointConfig
from ckpt.saving.history import History
from ckpt.state import TrainingState, real


def monitored(state: TrainingState, metric: str) -> float | None:
    """The value of a metric, `loss` included; None when the state has none of that name."""
    if metric in state.metrics:
        return real(state.metrics[metric], f"metrics.{metric}")
    return real(state.loss, "loss") if metric == "loss" else None


def due(
    state: TrainingState, config: CheckpointConfig, history: History, at_epoch_end: bool | None = None
) -> tuple[str, ...]:
    """The rules that ask for a checkpoint of this state: `best`, `epoch`, `step`, the weightiest first.

    Asking changes nothing. `at_epoch_end` says where the training is; None is a loop that does not tell, where the
    epoch rule takes the first state of an epoch. A metric that is NaN, infinite or missing is never the best.
    """
    rules = []
    metric = config.save_on_best_metric
    if metric is not None and history.is_better(monitored(state, metric)):
        rules.append("best")
    epochs, steps = config.save_every_n_epochs, config.save_every_n_steps
    in_turn = epochs is not None and at_epoch_end is not False and state.epoch % epochs == 0
    if in_turn and not history.asked("epoch", epoch=state.epoch):
        rules.append("epoch")
    in_turn = steps is not None and state.global_step > 0 and state.global_step % steps == 0
    if in_turn and not history.asked("step", step=state.global_step):
        rules.append("step")
    return tuple(rules)
