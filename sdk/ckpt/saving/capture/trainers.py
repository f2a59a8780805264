"""A trainer as saving by hand sees it: its parts, its counts, and what else tells its state.

A trainer is an object with `capture()`, which returns a mapping of names to objects; such a mapping itself; or an
object with attributes of the usual names. These names mean parts of a training, the first that is there counts:

    model       models, model, module, network, net
    optimizer   optimizers, optimizer
    scheduler   schedulers, lr_schedulers, scheduler, lr_scheduler
    scaler      scaler, grad_scaler, amp_scaler
    loaders     dataloader_manager, loaders, dataloaders, train_loader, train_dataloader
    epoch       current_epoch, epoch                 step     global_step, current_step, step
    metrics     metrics                              loss     loss
    config      config, args, hparams                model_config, metrics_history, resume_state

In a mapping, whatever else tells its state is captured by its name; of an object, only `choice_rng` is, and the
report names the rest as not registered. Counts and the loss may be tensors or NumPy's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch

from ckpt.exceptions import StateError
from ckpt.saving.capture.protocol import has_state, learning_rate_of, several
from ckpt.saving.capture.registry import refuse_name
from ckpt.saving.capture.taking import CHOICE_RNG, Training
from ckpt.state import TrainingState, real, whole

_PARTS = {
    "model": ("models", "model", "module", "network", "net"),
    "optimizer": ("optimizers", "optimizer"),
    "scheduler": ("schedulers", "lr_schedulers", "scheduler", "lr_scheduler"),
    "scaler": ("scaler", "grad_scaler", "amp_scaler"),
    "loaders": ("dataloader_manager", "loaders", "dataloaders", "train_loader", "train_dataloader"),
}
_EPOCH = ("current_epoch", "epoch")
_STEP = ("global_step", "current_step", "step")
_CONFIG = ("config", "args", "hparams")
_KNOWN = frozenset(name for names in _PARTS.values() for name in names)


@dataclass(frozen=True)
class SeenTrainer:
    """What was found in a trainer."""

    trainer: Any
    fields: Mapping[str, Any]
    training: Training
    state: TrainingState

    @property
    def config(self) -> Any:
        """Its settings, of whatever kind; None for none."""
        return next((self.fields[name] for name in _CONFIG if name in self.fields), None)

    def set_counts(self, epoch: int, step: int) -> None:
        """Sets the counts of epochs and of steps, each under the first name that the trainer has one under."""
        self._set_count(_EPOCH, epoch)
        self._set_count(_STEP, step)

    def _set_count(self, names: tuple[str, ...], value: int) -> None:
        name = _named_number(self.fields, names)
        if name is None:
            return
        held = self.fields[name]
        if isinstance(held, torch.Tensor):
            held.fill_(value)
        elif isinstance(self.trainer, MutableMapping):
            self.trainer[name] = value
        elif hasattr(self.trainer, name):
            setattr(self.trainer, name, value)


def look_at(trainer: Any) -> SeenTrainer:
    """The parts of a trainer. Raises StateError for what is no trainer."""
    fields, told = _fields_of(trainer)
    found: dict[str, Any] = {}
    used: set[str] = set()
    left_out: dict[str, str] = {}
    for part, names in _PARTS.items():
        for name in names:
            value = fields.get(name)
            if value is None or (isinstance(value, list | tuple | dict) and not value):
                continue
            used.add(name)
            if part == "loaders" and not all(has_state(item) for item in several(value)[0]):
                left_out[part] = f"{name} is a {type(value).__name__}, which has no state_dict() of its own"
            elif part not in found:
                found[part], left_out = value, {what: why for what, why in left_out.items() if what != part}
            elif value is not found[part]:
                left_out[name] = f"another object was taken as the {part}"
    if "model" not in found:
        raise StateError(
            f"a {type(trainer).__name__} has no model",
            hint=f"it is looked for under {', '.join(_PARTS['model'])}; or give it a capture() that names its objects",
        )
    others = {name: value for name, value in fields.items() if name not in used | _KNOWN and has_state(value)}
    registered = others if told else {name: value for name, value in others.items() if name == CHOICE_RNG}
    for name in registered:
        refuse_name(name)
    left_out.update((name, "it is not registered: name it in capture()") for name in others if name not in registered)
    state, told_of_numbers = _state_of(fields, found.get("optimizer"))
    left_out.update(told_of_numbers)
    training = Training(
        weights=found["model"],
        optimizers=found.get("optimizer"),
        schedulers=found.get("scheduler"),
        scaler=found.get("scaler"),
        loaders=found.get("loaders"),
        registered=registered,
        left_out=left_out,
    )
    return SeenTrainer(trainer, fields, training, state)


def _fields_of(trainer: Any) -> tuple[Mapping[str, Any], bool]:
    """What a trainer holds by name, and whether it chose itself what is to be captured."""
    if isinstance(trainer, type):
        raise StateError(
            f"the trainer is the class {trainer.__name__}", hint=f"give an object of it: {trainer.__name__}(…)"
        )
    tell = getattr(trainer, "capture", None)
    if callable(tell):
        told = tell()
        if not isinstance(told, Mapping):
            raise StateError(f"capture() of a {type(trainer).__name__} gives no mapping of names to objects")
        return told, True
    if isinstance(trainer, Mapping):
        return trainer, True
    names = [*_KNOWN, *_EPOCH, *_STEP, *_CONFIG, "metrics", "loss", "model_config", "metrics_history", "resume_state"]
    found = {name: value for name, value in getattr(trainer, "__dict__", {}).items() if not name.startswith("_")}
    found.update((name, getattr(trainer, name)) for name in (*names, CHOICE_RNG) if hasattr(trainer, name))
    return found, False


def _state_of(fields: Mapping[str, Any], optimizers: Any) -> tuple[TrainingState, dict[str, str]]:
    """Counts, loss and metrics, and which metrics are left out and why.

    Raises StateError, naming the field, for a count or a loss that is no number.
    """
    counts = []
    for names in (_EPOCH, _STEP):
        name = _named_number(fields, names)
        counts.append(0 if name is None else whole(fields[name], name))
    metrics = fields.get("metrics")
    numbers: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for name, value in metrics.items() if isinstance(metrics, Mapping) else ():
        try:
            numbers[str(name)] = real(value, str(name))
        except StateError:
            left_out[f"metrics.{name}"] = f"it is a {type(value).__name__}, not one number"
    if not isinstance(metrics, Mapping | None):
        left_out["metrics"] = f"it is a {type(metrics).__name__}, not a mapping of names to numbers"
    state = TrainingState(
        epoch=counts[0],
        global_step=counts[1],
        learning_rate=learning_rate_of(optimizers),
        loss=math.nan if _named_number(fields, ("loss",)) is None else real(fields["loss"], "loss"),
        metrics=numbers,
    )
    return state, left_out


def _named_number(fields: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first name under which something stands that is no function, such as a method `step` or a loss."""
    return next((name for name in names if fields.get(name) is not None and not callable(fields[name])), None)
