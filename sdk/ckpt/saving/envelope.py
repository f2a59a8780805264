"""What a checkpoint file contains: format v1, made from states and read back.

Every key of the format is there; what was not captured is None.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ckpt.encoding import printable
from ckpt.exceptions import CorruptError, FormatError, StateError
from ckpt.saving.plain import from_plain, to_plain
from ckpt.state import TrainingState

FORMAT_VERSION = 1
_WEIGHT_KEYS = ("model_state_dict", "state_dict", "model", "module")


@dataclass
class Content:
    """The states that one checkpoint holds."""

    weights: Mapping[str, Any]
    state: TrainingState
    optimizers: list[Any] | None = None
    schedulers: list[Any] | None = None
    scaler: Any = None
    random: Any = None
    loaders: list[Any] | None = None
    model_config: Mapping[str, Any] | None = None
    config_snapshot: Mapping[str, Any] | None = None
    epoch_finished: bool | None = None
    """Whether the epoch was over; None when nobody said."""
    resume: dict[str, Any] = field(default_factory=dict)
    """`resume_state` as it stood in the file."""


def to_envelope(content: Content) -> dict[str, Any]:
    """The mapping that goes into the file; tensors share memory with the training's own.

    Raises StateError, naming the place, for what a safe loader would refuse.
    """
    state = content.state
    loaders = None
    if content.loaders is not None:
        iterator = {"loader_states": content.loaders}
        loaders = {
            "choice_rng_state": None,
            "choice_rng": None,
            "train_iterator_state": iterator,
            "val_iterator_state": None,
        }
    finished = content.epoch_finished
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
        "dataloader_manager_state": loaders,
        "choice_rng_state": None,
        "resume_state": {
            "version": 1,
            "phase": None if finished is None else "epoch_end" if finished else "train_batch",
            "epoch": state.epoch,
            "global_step": state.global_step,
            "epoch_finished": finished,
        },
        "metrics_history": None,
        "config_snapshot": content.config_snapshot,
        "metrics": dict(state.metrics),
        "loss": state.loss,
        "learning_rate": state.learning_rate,
        "model_config": content.model_config,
        "training_state": state.scalars(),
    }
    plain: dict[str, Any] = to_plain(envelope, "")
    return plain


def read_envelope(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The mapping in a checkpoint file, loaded safely. Raises CorruptError, FormatError, FileNotFoundError."""
    try:
        loaded = torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        # torch.load tells damage by many kinds of error: of pickle, zip, encoding, indices and its own.
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorruptError(f"{printable(str(path))} cannot be loaded: {reason}") from error
    if not isinstance(loaded, Mapping):
        raise FormatError(f"{printable(str(path))} holds a {type(loaded).__name__}, not a checkpoint")
    return dict(loaded)


def from_envelope(envelope: Mapping[str, Any], where: str) -> Content:
    """The states in a file's mapping; files of other makers are read as far as their meaning is plain.

    Raises FormatError for an unknown version, and when no weights can be found.
    """
    version = envelope.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{where} has format {version!r}, and this version reads {FORMAT_VERSION}",
            hint="use the version that wrote it, or a newer one",
        )
    loaders = envelope.get("dataloader_manager_state")
    iterator = loaders.get("train_iterator_state") if isinstance(loaders, Mapping) else None
    resume = envelope.get("resume_state")
    resume = dict(resume) if isinstance(resume, Mapping) else {}
    finished = resume.get("epoch_finished")
    content = Content(
        weights=_weights(envelope, where),
        state=_state(envelope),
        optimizers=_several(envelope, "optimizer_state_dict"),
        schedulers=_several(envelope, "scheduler_state_dict"),
        scaler=from_plain(envelope.get("amp_scaler_state")),
        random=from_plain(envelope.get("rng_states")),
        loaders=from_plain(iterator.get("loader_states")) if isinstance(iterator, Mapping) else None,
        model_config=from_plain(envelope.get("model_config")),
        config_snapshot=from_plain(envelope.get("config_snapshot")),
        epoch_finished=finished if isinstance(finished, bool) else None,
        resume=resume,
    )
    _give_back_states(content, envelope)
    return content


def _weights(envelope: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    for key in _WEIGHT_KEYS:
        if isinstance(envelope.get(key), Mapping):
            found: Mapping[str, Any] = envelope[key]
            return found
    if envelope and all(isinstance(value, torch.Tensor) for value in envelope.values()):
        return envelope
    raise FormatError(f"{where} holds no weights", hint=f"they are looked for under {', '.join(_WEIGHT_KEYS)}")


def _several(envelope: Mapping[str, Any], name: str) -> list[Any] | None:
    for key in (f"{name}s", name, name.removesuffix("_state_dict")):
        found = envelope.get(key)
        if isinstance(found, list):
            states: list[Any] = from_plain(found)
            return states
        if isinstance(found, Mapping):
            return [from_plain(found)]
    return None


def _state(envelope: Mapping[str, Any]) -> TrainingState:
    scalars = envelope.get("training_state")
    if isinstance(scalars, Mapping):
        try:
            return TrainingState.from_dict({k: v for k, v in scalars.items() if k != "held"})
        except StateError as error:
            raise FormatError(f"the training state cannot be read: {error.message}") from error

    def number(*keys: str, default: float) -> float:
        for key in keys:
            value = envelope.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        return default

    metrics = envelope.get("metrics")
    numbers = metrics.items() if isinstance(metrics, Mapping) else ()
    return TrainingState(
        epoch=int(number("epoch", default=0)),
        global_step=int(number("global_step", "step", "iteration", default=0)),
        learning_rate=number("learning_rate", "lr", default=math.nan),
        loss=number("loss", default=math.nan),
        metrics={str(name): value for name, value in numbers if isinstance(value, int | float)},
    )


def _give_back_states(content: Content, envelope: Mapping[str, Any]) -> None:
    """Puts captured states into the TrainingState too, where code that knows only that looks for them."""
    state = content.state
    if content.optimizers is not None and len(content.optimizers) == 1:
        state.optimizer_state = content.optimizers[0]
    if content.schedulers is not None and len(content.schedulers) == 1:
        state.scheduler_state = content.schedulers[0]
    if isinstance(content.random, dict):
        state.random_state = content.random
