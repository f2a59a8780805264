"""One file by hand: `save_checkpoint(path, trainer)` and `load_checkpoint(path, trainer)`, without a run.

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
report names the rest as not registered.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import SaveError, StateError
from ckpt.saving.capture.configs import config_of
from ckpt.saving.capture.protocol import has_state, learning_rate_of, several
from ckpt.saving.capture.ranks import gather_random, rank_and_world
from ckpt.saving.capture.taking import CHOICE_RNG, Switches, Training, take
from ckpt.saving.envelope import to_envelope
from ckpt.saving.restore import RestoreReport, restore
from ckpt.saving.restore.loading import read_file
from ckpt.saving.sending.packing import pack
from ckpt.saving.sending.staging import live_image
from ckpt.saving.when.history import read_marker
from ckpt.state import TrainingState
from ckpt.writing import committing
from ckpt.writing.performing import write_proven

log = logging.getLogger("ckpt.saving")

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


def save_checkpoint(
    path: str | os.PathLike[str], trainer: Any, *, random: bool = True, gather_random_states: bool = False
) -> Path:
    """Saves all of a trainer's state to a file and returns its path; what is there is replaced, whole or not at all.

    The file is of format v1, durable when this returns, and loads with `torch.load(weights_only=True)`. With
    `gather_random_states` every rank has to call it, and the file has the random states of all; only rank 0 writes.
    Raises StateError for what cannot be stored and SaveError when the write failed; the old file stays then.
    """
    target = _free(path)
    by_rank = gather_random() if random and gather_random_states else None
    if rank_and_world()[0] != 0:
        return target
    seen = _look_at(trainer)
    content = take(
        seen.training,
        seen.state,
        Switches(random=random),
        model_config=seen.fields.get("model_config"),
        config=next((seen.fields[name] for name in _CONFIG if name in seen.fields), None),
        metrics_history=config_of(seen.fields.get("metrics_history")),
        random_by_rank=by_rank,
    )
    content.resume = config_of(seen.fields.get("resume_state")) or {}
    _write(target, to_envelope(content))
    for part, why in seen.training.left_out.items():
        log.warning("%s does not hold %s: %s", printable(str(target)), printable(part), why)
    return target


def load_checkpoint(
    path: str | os.PathLike[str],
    trainer: Any,
    *,
    strict: bool = True,
    map_location: Any = "cpu",
    random: bool = True,
    weights_only: bool = False,
) -> RestoreReport:
    """Puts a checkpoint file, of any layout and whoever wrote it, into a trainer's objects, and reports what it did.

    The trainer's counts of epochs and steps are set too, where it has such attributes. With `weights_only` the model
    alone is restored and the counts become 0. Raises FileNotFoundError, CorruptError, FormatError, and CheckpointError
    for what does not fit; then nothing is changed.
    """
    source = Path(os.path.abspath(path))
    seen = _look_at(trainer)
    report = restore(
        read_file(source, map_location),
        path=str(source),
        training=seen.training,
        strict=strict,
        random=random,
        weights_only=weights_only,
    )
    seen.set_count(_EPOCH, report.next_epoch)
    seen.set_count(_STEP, report.next_step)
    return report


@dataclass(frozen=True)
class _Seen:
    """A trainer as this module sees it."""

    trainer: Any
    fields: Mapping[str, Any]
    training: Training
    state: TrainingState

    def set_count(self, names: tuple[str, ...], value: int) -> None:
        """Sets the count under the first name that the trainer has one under."""
        for name in names:
            if _is_count(self.fields.get(name)):
                if isinstance(self.trainer, MutableMapping):
                    self.trainer[name] = value
                elif hasattr(self.trainer, name):
                    setattr(self.trainer, name, value)
                return


def _look_at(trainer: Any) -> _Seen:
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
                continue
            found[part] = value
            break
    if "model" not in found:
        raise StateError(
            f"a {type(trainer).__name__} has no model",
            hint=f"it is looked for under {', '.join(_PARTS['model'])}; or give it a capture() that names its objects",
        )
    others = {name: value for name, value in fields.items() if name not in used | _KNOWN and has_state(value)}
    registered = others if told else {name: value for name, value in others.items() if name == CHOICE_RNG}
    left_out.update((name, "it is not registered: name it in capture()") for name in others if name not in registered)
    training = Training(
        weights=found["model"],
        optimizers=found.get("optimizer"),
        schedulers=found.get("scheduler"),
        scaler=found.get("scaler"),
        loaders=found.get("loaders"),
        registered=registered,
        left_out=left_out,
    )
    return _Seen(trainer, fields, training, _state_of(fields, found.get("optimizer")))


def _free(path: str | os.PathLike[str]) -> Path:
    """The place to write to. Raises SaveError for one that nothing may be written to by hand."""
    target = Path(os.path.abspath(path))
    name = printable(str(target))
    if "file" in read_marker(target):
        raise SaveError(f"{name} is a checkpoint of a run, and those are never overwritten", hint="choose another name")
    if target.is_dir():
        raise SaveError(f"{name} is a directory", hint="name a file in it")
    if not target.parent.is_dir():
        raise SaveError(f"{printable(str(target.parent))} is no directory", hint="make it first")
    return target


def _fields_of(trainer: Any) -> tuple[Mapping[str, Any], bool]:
    """What a trainer holds by name, and whether it chose itself what is to be captured."""
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


def _state_of(fields: Mapping[str, Any], optimizers: Any) -> TrainingState:
    counts = [next((fields[n] for n in names if _is_count(fields.get(n))), 0) for names in (_EPOCH, _STEP)]
    metrics = fields.get("metrics")
    loss = fields.get("loss")
    return TrainingState(
        epoch=counts[0],
        global_step=counts[1],
        learning_rate=learning_rate_of(optimizers),
        loss=loss if isinstance(loss, int | float) else math.nan,
        metrics={str(n): v for n, v in metrics.items() if isinstance(v, int | float)}
        if isinstance(metrics, Mapping)
        else {},
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _write(target: Path, envelope: dict[str, Any]) -> None:
    packed = pack(envelope)
    temporary: Path | None = None
    try:
        staged, _, _ = write_proven(target.parent, target.stem, live_image(packed.layout, packed.pickled))
        temporary = Path(os.fsdecode(staged.path))
        files.publish(temporary, target, overwrite=True)
    except OSError as error:
        raise SaveError(
            f"{printable(str(target))} could not be saved: {error.strerror}", hint="what was there before is untouched"
        ) from error
    finally:
        if temporary is not None:
            committing.discard(temporary)
