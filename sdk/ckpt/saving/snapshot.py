"""What one save is made of: content for the file, marker for its commit, record for its handle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt.config import CheckpointConfig
from ckpt.encoding import finite
from ckpt.paths import MARKER_SUFFIX
from ckpt.records import Checkpoint
from ckpt.runs import Run
from ckpt.saving import capture
from ckpt.saving.envelope import Content
from ckpt.saving.history import Saved
from ckpt.saving.writer import Staged
from ckpt.state import TrainingState


@dataclass(frozen=True)
class Given:
    """What the training handed over besides its state."""

    weights: Any
    optimizers: Any = None
    schedulers: Any = None
    scaler: Any = None
    loaders: Any = None
    at_epoch_end: bool | None = None


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
    scaler = capture.state_dicts_of(given.scaler, "scaler")
    random = None
    if config.save_random_state:
        random = state.random_state if state.random_state is not None else capture.capture_random()
    return Content(
        weights=capture.weights_of(given.weights),
        state=state,
        optimizers=_states(config.save_optimizer_state, given.optimizers, state.optimizer_state, "optimizers"),
        schedulers=_states(config.save_scheduler_state, given.schedulers, state.scheduler_state, "schedulers"),
        scaler=scaler[0] if scaler else None,
        random=random,
        loaders=capture.state_dicts_of(given.loaders, "loaders"),
        model_config=model_config,
        config_snapshot=run_config or None,
        epoch_finished=given.at_epoch_end,
    )


def _states(wanted: bool, objects: Any, held: Any, what: str) -> list[Any] | None:
    if not wanted:
        return None
    found = capture.state_dicts_of(objects, what)
    if found is not None:
        return found
    return None if held is None else [held]


def marker(
    run: Run, state: TrainingState, saved: Saved, staged: Staged, *, is_best: bool, message: str
) -> dict[str, Any]:
    """The commit marker as plain data, without the id and the name, which the publication decides."""
    plain: dict[str, Any] = finite(
        {
            "format": 1,
            "run": run.id,
            "seq": saved.seq,
            "attempt": run.attempt,
            "step": state.global_step,
            "epoch": state.epoch,
            "loss": state.loss,
            "learning_rate": state.learning_rate,
            "metrics": state.metrics,
            "saved_at": time.time(),
            "bytes": staged.bytes,
            "hash": f"blake3:{staged.hash}",
            "fingerprint": staged.fingerprint,
            "label": saved.due[0] if saved.due else "regular",
            "due": list(saved.due),
            "is_best": is_best,
            "message": message,
            "state": state.scalars(),
        }
    )
    return plain


def record(path: Path, marker: Mapping[str, Any]) -> Checkpoint:
    """The record behind a marker that was just written."""
    return Checkpoint(
        id=marker["id"],
        run=marker["run"],
        path=str(path),
        framework="ckpt",
        seq=marker["seq"],
        attempt=marker["attempt"],
        step=marker["step"],
        epoch=marker["epoch"],
        bytes=marker["bytes"],
        saved_at=marker["saved_at"],
        label=marker["label"],
        fingerprint=marker["fingerprint"],
        files=(str(path), str(path.with_suffix(MARKER_SUFFIX))),
    )
