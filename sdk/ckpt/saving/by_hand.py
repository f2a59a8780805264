"""One file by hand: `save_checkpoint(path, trainer)` and `load_checkpoint(path, trainer)`, without a run."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import SaveError
from ckpt.paths import CHECKPOINT_SUFFIX, POINTER_NAMES, RunPaths
from ckpt.runs import redirecting
from ckpt.runs.lookup import names_start, start_of
from ckpt.runs.rank import rank
from ckpt.runs.run import BASE_DIR
from ckpt.saving.capture.configs import config_of
from ckpt.saving.capture.gradients import capture_gradients
from ckpt.saving.capture.ranks import gather
from ckpt.saving.capture.taking import Switches, own_states, take
from ckpt.saving.capture.trainers import look_at
from ckpt.saving.envelope import to_envelope
from ckpt.saving.restore import RestoreReport, restore
from ckpt.saving.restore.loading import read_file
from ckpt.saving.sending.packing import pack
from ckpt.saving.sending.staging import live_image
from ckpt.saving.when.history import read_marker
from ckpt.selftest.recording import recorder
from ckpt.writing import committing
from ckpt.writing.performing import write_proven

log = logging.getLogger("ckpt.saving")


def save_checkpoint(
    path: str | os.PathLike[str],
    trainer: Any,
    *,
    random: bool = True,
    gather_random_states: bool = False,
    gradients: bool | None = None,
) -> Path:
    """Saves all of a trainer's state to a file and returns its path; what is there is replaced, whole or not at all.

    The file is of format v1, durable when this returns, and loads with `torch.load(weights_only=True)`. With
    `gather_random_states` every rank has to call it, and the file has the random states and the loaders' states of all;
    only rank 0 writes. `gradients` is as `CheckpointManager.save_checkpoint` has it.

    Raises StateError for what cannot be stored and SaveError when the write failed; the old file stays then.
    """
    target = redirecting.written_file(_free(path))
    by_rank = gather(lambda: own_states(look_at(trainer).training.loaders)) if gather_random_states else None
    if rank() != 0:
        return target
    seen = look_at(trainer)
    own = seen.training
    found = capture_gradients(own.weights, own.registered, own.optimizers, wanted=gradients)
    content = take(
        replace(own, gradients=found.tensors, left_out={**own.left_out, **found.left_out}),
        seen.state,
        Switches(random=random),
        model_config=seen.fields.get("model_config"),
        config=seen.config,
        metrics_history=config_of(seen.fields.get("metrics_history")),
        by_rank=by_rank,
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
    verify: bool = True,
    random: bool = True,
    weights_only: bool = False,
) -> RestoreReport:
    """Puts a checkpoint file, of any layout and whoever wrote it, into a trainer's objects, and reports what it did.

    A checkpoint of a run may also be named as `Run.fork` takes it: `runs/exp1`, `runs/exp1@best`. The trainer's counts
    of epochs and steps are set too, where it has such attributes. With `weights_only` the model alone is restored and
    the counts become 0. `verify` compares the checksums that the file states. Raises FileNotFoundError, CorruptError,
    FormatError, UsageError for a device that is not here, AddressError for a run that has no such checkpoint, and
    CheckpointError for what does not fit; then nothing is changed.
    """
    source = _source(path)
    seen = look_at(trainer)
    report = restore(
        read_file(source, map_location, verify=verify),
        path=str(source),
        training=seen.training,
        strict=strict,
        random=random,
        weights_only=weights_only,
    )
    seen.set_counts(report.next_epoch, report.next_step)
    found = recorder()
    if found is not None:
        found.read(report.next_step)
    return report


def _source(path: str | os.PathLike[str]) -> Path:
    """The file to read: a plain one, or that of the checkpoint of a run which is named so."""
    places = redirecting.places(Path(os.path.abspath(os.fsdecode(path))))
    source = next((place for place in places if place.is_file()), places[-1])
    if not source.is_file() and names_start(path, Path(BASE_DIR)):
        return Path(start_of(path, Path(BASE_DIR), None)[1].path)
    return source


def _free(path: str | os.PathLike[str]) -> Path:
    """The place to write to; of a symbolic link that which it leads to.

    Raises SaveError for one that nothing may be written to by hand.
    """
    target = Path(os.path.abspath(os.fsdecode(path)))
    name = printable(str(target))
    if "\0" in str(target):
        raise SaveError(f"{name[:200]} is no path: it has a NUL in it", hint="choose another name")
    try:
        if target.is_symlink():
            target = Path(os.path.realpath(target))
        kind = os.lstat(target).st_mode if os.path.lexists(target) else None
        if kind is not None and stat.S_ISDIR(kind):
            raise SaveError(f"{name} is a directory", hint="name a file in it")
        if kind is not None and not stat.S_ISREG(kind):
            raise SaveError(f"{name} is no plain file", hint="choose another name")
        if "file" in read_marker(target):
            raise SaveError(
                f"{name} is a checkpoint of a run, and those are never overwritten", hint="choose another name"
            )
        if _is_of_a_run(target):
            raise SaveError(f"{name} is a file that a run keeps itself", hint="choose another name, ending in .pt")
        if not target.parent.is_dir():
            raise SaveError(f"{printable(str(target.parent))} is no directory", hint="make it first")
    except OSError as error:
        raise SaveError(f"{name[:200]} cannot be written to: {error.strerror}", hint="choose another name") from error
    return target


def _is_of_a_run(target: Path) -> bool:
    """Whether a file is one of those that a run keeps about itself, or one in its trash."""
    for directory in target.parents[:4]:
        run = RunPaths(directory)
        if not run.manifest.is_file():
            continue
        points = target.parent == run.checkpoints and target.name in POINTER_NAMES
        is_beside = target.parent in (directory, run.checkpoints) and target.suffix != CHECKPOINT_SUFFIX
        if points or is_beside or run.trash in target.parents:
            return True
    return False


def _write(target: Path, envelope: dict[str, Any]) -> None:
    packed = pack(envelope)
    temporary: Path | None = None
    try:
        # A temporary name is longer than the name, and the name may be as long as names can be.
        staged, _, _ = write_proven(target.parent, target.stem[:40], live_image(packed.layout, packed.pickled))
        temporary = Path(os.fsdecode(staged.path))
        files.publish(temporary, target, overwrite=True)
    except OSError as error:
        is_in_place = temporary is not None and not os.path.lexists(temporary)
        raise SaveError(
            f"{printable(str(target))} could not be saved: {error.strerror}",
            hint="the new file is in its place, but may not outlast a loss of power; save it again"
            if is_in_place
            else "what was there before is untouched",
        ) from error
    finally:
        if temporary is not None:
            committing.discard(temporary)
