"""States as the mapping that goes into a file: every key of the format, and nothing that a safe loader refuses."""

from __future__ import annotations

import time
from typing import Any

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
        "choice_rng_state": content.choice_random,
        "resume_state": {
            **content.resume,
            "version": RESUME_VERSION,
            "phase": None if finished is None else "epoch_end" if finished else "train_batch",
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
        "captured": content.captured,
        "names": content.names,
        "world_size": content.world_size,
        "capture_report": None if content.report is None else content.report.to_plain(),
    }
    plain: dict[str, Any] = to_plain(envelope, "")
    if isinstance(history, Columns):
        plain["metrics_history"] = dict(history)
    return plain


def _loaders(content: Content) -> Any:
    """The loaders' states where the format has them; counts that nobody told are None."""
    if content.loader_manager is not None:
        return content.loader_manager
    if content.loaders is None:
        return None
    return {
        "choice_rng_state": None,
        "choice_rng": None,
        "train_iterator_state": {
            "schedule_position": None,
            "loader_states": content.loaders,
            "total_batches": None,
            "loader_cycles": None,
            "prefetched_batches": None,
        },
        "val_iterator_state": None,
    }
