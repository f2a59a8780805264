"""What one save is made of: content for the file, and the marker for its commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ckpt.config import CheckpointConfig
from ckpt.encoding import finite
from ckpt.runs import Run
from ckpt.saving.capture.ranks import OwnStates
from ckpt.saving.capture.taking import Switches, Training, take
from ckpt.saving.capture.turns import Turn, not_seen
from ckpt.saving.envelope import Content
from ckpt.saving.when.history import Saved
from ckpt.state import TrainingState


@dataclass(frozen=True)
class Given:
    """What the training handed over besides its state."""

    training: Training
    at_epoch_end: bool | None = None
    epoch_begun: bool | None = None
    """Whether a step of the state's epoch was done; None where that is not known."""
    interrupted: str | None = None
    """Name of the exception that ends the training."""
    by_rank: list[OwnStates | None] | None = None
    """What the processes have of their own, where it was gathered."""
    metrics_history: dict[str, Any] | None = None
    early_stopping: dict[str, Any] | None = None
    epoch_loss: dict[str, Any] | None = None
    turn_of: Callable[[Any], Turn] = not_seen
    """What the steps of the training tell of a loader."""


def content(
    given: Given,
    state: TrainingState,
    config: CheckpointConfig,
    model_config: Mapping[str, Any] | None,
    run_config: Mapping[str, Any],
) -> Content:
    """The states to store, as the config's switches say; what the state itself holds fills in for missing objects.

    A random state that the state holds is taken instead of the generators' own. Raises StateError.
    """
    switches = Switches(config.save_optimizer_state, config.save_scheduler_state, config.save_random_state)
    found = take(
        given.training,
        state,
        switches,
        model_config=model_config,
        config=run_config,
        at_epoch_end=given.at_epoch_end,
        epoch_begun=given.epoch_begun,
        interrupted=given.interrupted,
        metrics_history=given.metrics_history,
        by_rank=given.by_rank,
        early_stopping=given.early_stopping,
        turn_of=given.turn_of,
    )
    found.resume = {} if given.epoch_loss is None else {"epoch_loss": given.epoch_loss}
    return found


def marker(
    run: Run, state: TrainingState, saved: Saved, *, is_best: bool, message: str, cause: str | None = None
) -> dict[str, Any]:
    """The commit marker as plain data, without what the write and the file's name decide.

    `cause` is the name of the signal or exception, for a save that one of them asked for.
    """
    plain: dict[str, Any] = finite(
        {
            "run": run.id,
            "seq": saved.seq,
            "attempt": run.attempt,
            "step": state.global_step,
            "epoch": state.epoch,
            "loss": state.loss,
            "learning_rate": state.learning_rate,
            "metrics": state.metrics,
            "saved_at": time.time(),
            "label": saved.due[0] if saved.due else "regular",
            "due": list(saved.due),
            "is_best": is_best,
            "message": message,
            "state": state.scalars(),
            **({} if cause is None else {"cause": cause}),
        }
    )
    return plain


def message(state: TrainingState, config: CheckpointConfig, names: Mapping[str, str | None]) -> str:
    """The commit message; `names` of model and experiment stand before those that the state has."""
    given = {name: value if value is not None else getattr(state, name) for name, value in names.items()}
    return config.message({**state.metrics, **vars(state), "step": state.global_step, **given})
