"""States as the mapping that goes into a file: every key of the format, and nothing that a safe loader refuses."""

from __future__ import annotations

import time
from typing import Any

from ckpt.saving.envelope import places
from ckpt.saving.envelope.content import FORMAT_VERSION, Columns, Content
from ckpt.saving.envelope.plain import to_plain

RESUME_VERSION = 1


def to_envelope(content: Content) -> dict[str, Any]:
    """The mapping that goes into the file; tensors share memory with the training's own.

    Raises StateError, naming the place, for what a safe loader would refuse.
    """
    state = content.state
    finished, history = content.epoch_finished, content.metrics_history
    envelope = {
        "format_version": FORMAT_VERSION,
        "is_multi_dataloader_only": False,
        "save_timestamp": time.time(),
        "epoch": state.epoch,
        "global_step": state.global_step,
        "model_state_dict": content.weights,
        "optimizer_state_dicts": content.optimizers,
        "scheduler_state_dicts": content.schedulers,
        "amp_scaler_state": content.scaler,
        "rng_states": content.random,
        "rng_states_by_rank": content.random_by_rank,
        "dataloader_manager_state": _loaders(content),
        "loader_states_by_rank": _of_ranks(content),
        "choice_rng_state": content.choice_random,
        "resume_state": {
            **content.resume,
            "version": RESUME_VERSION,
            "phase": _phase(content),
            "epoch": state.epoch,
            "global_step": state.global_step,
            "epoch_finished": finished,
        },
        "metrics_history": None if isinstance(history, Columns) else history,
        "config_snapshot": content.config_snapshot,
        "metrics": dict(state.metrics),
        "loss": state.loss,
        "learning_rate": state.learning_rate,
        "model_config": content.model_config,
        "training_state": state.scalars(),
        "gradients": content.gradients,
        "early_stopping": content.early_stopping,
        "captured": content.captured,
        "names": _names(content.names),
        "world_size": content.world_size,
        "environment": content.environment,
        "capture_report": None if content.report is None else content.report.to_plain(),
    }
    plain: dict[str, Any] = to_plain(envelope, "")
    if isinstance(history, Columns):
        plain["metrics_history"] = dict(history)
    return plain


def _phase(content: Content) -> str | None:
    """Where the training stood, as the format names it."""
    finished = content.epoch_finished
    if content.phase == "between":
        return "epoch_start" if finished is False else "epoch_end"
    if content.phase is not None:
        return "val_batch" if content.phase == "validation" else "train_batch"
    return None if finished is None else "epoch_end" if finished else "train_batch"


def _loaders(content: Content) -> Any:
    """The loaders' states where the format has them."""
    if content.loader_manager is not None:
        return content.loader_manager
    if content.loaders is None:
        return None
    names = content.names.get("loaders") or [""] * len(content.loaders)
    states = [content.loaders[i] for i in _order(names)]
    count = sum(not places.is_validation(name) for name in names)
    train, val = states[:count], states[count:]
    return {
        "choice_rng_state": None,
        "choice_rng": None,
        "train_iterator_state": _iterator(train) if train or not val else None,
        "val_iterator_state": _iterator(val) if val else None,
    }


def _of_ranks(content: Content) -> list[Any] | None:
    """The loaders' states of all ranks, each in the order in which those of rank 0 are read."""
    by_rank, names = content.loaders_by_rank, content.names.get("loaders")
    if by_rank is None or names is None:
        return by_rank
    order = _order(names)
    return [own if own is None or len(own) != len(names) else [own[i] for i in order] for own in by_rank]


def _order(names: list[str]) -> list[int]:
    """Which loader comes when: those of the training stand before those of the validation."""
    return sorted(range(len(names)), key=lambda i: places.is_validation(names[i]))


def _iterator(states: list[Any]) -> Any:
    """The Iterator State of some loaders: that of a schedule as it is; of others counts that nobody told are None."""
    if len(states) == 1 and places.is_schedule(states[0]):
        return states[0]
    return {
        "schedule_position": None,
        "loader_states": states,
        "total_batches": None,
        "loader_cycles": None,
        "prefetched_batches": None,
    }


def _names(names: dict[str, list[str]]) -> dict[str, list[str]]:
    """Names in the order of the states."""
    loaders = names.get("loaders")
    return names if loaders is None else {**names, "loaders": [loaders[i] for i in _order(loaders)]}
