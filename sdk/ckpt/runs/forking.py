"""Fork: makes a new run that starts at a checkpoint of another, with the lineage told on both sides.

The checkpoint is copied by reflink or by bytes, never linked: a training that rewrites it must not change the parent.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from ckpt import files, marks
from ckpt.encoding import printable
from ckpt.exceptions import CorruptError, IncompleteError, OperationError, UsageError
from ckpt.formats import inspect
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, POINTER_NAMES, RunPaths
from ckpt.records import Checkpoint, Run, checkpoint_id
from ckpt.runs import redirecting
from ckpt.runs.directories import check_name
from ckpt.runs.manifest import new_manifest, write_new


def fork(checkpoint: Checkpoint, parent: Run, destination: Path, *, progress: files.Progress | None = None) -> Path:
    """Makes a new own run that starts at a checkpoint of another run, and returns its directory.

    The checkpoint is copied as the fork's start; its metrics are not, so the fork finds its own best. Config, monitor
    and, from an own parent, the policy go along. Lineage is written into the fork and, best effort, into the parent's
    marks, which protects the parent's checkpoint. Raises IncompleteError or CorruptError for a checkpoint that is not
    whole, UsageError when the destination is taken or no name for a run, OperationError when a copy fails.
    """
    if checkpoint.state in ("writing", "incomplete"):
        raise IncompleteError(f"{printable(checkpoint.path)} is not complete", hint="fork from a complete checkpoint")
    if checkpoint.state != "complete":
        raise CorruptError(f"{printable(checkpoint.path)} is damaged: {'; '.join(checkpoint.problems)}")
    destination = Path(os.path.abspath(destination))
    check_name(destination.name)
    source = Path(checkpoint.path)
    _require_one_file(checkpoint, source)
    try:
        files.make_directory(destination.parent)
        destination.mkdir()
        files.fsync_directory(destination.parent)
    except FileExistsError:
        raise UsageError(
            f"{printable(str(destination))} exists already", hint="choose another name for the fork"
        ) from None
    except OSError as error:
        raise OperationError(f"{printable(str(destination))} cannot be made: {error.strerror}") from error
    try:
        manifest = _fork_manifest(checkpoint, parent, destination)
        _copy_start(checkpoint, source, manifest["id"], RunPaths(destination), progress)
        write_new(destination, manifest)
    except OSError as error:
        shutil.rmtree(destination, ignore_errors=True)
        raise OperationError(f"the fork could not be made: {error}") from error
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise
    if parent.own and not redirecting.is_spared(Path(parent.path)):
        _tell_parent(checkpoint, parent, manifest)
    return destination


def _require_one_file(checkpoint: Checkpoint, source: Path) -> None:
    """Raises UsageError unless the checkpoint is one torch file, which is all that a run can start from."""
    hint = f"`ckpt restore {printable(str(source))} DEST` copies it as it is, for its own framework to resume from"
    if source.is_dir():
        raise UsageError(
            f"{printable(source.name)} is a directory ({checkpoint.framework}); a run starts from one torch file",
            hint=hint,
        )
    if source.suffix != CHECKPOINT_SUFFIX and checkpoint.format != "torch":
        raise UsageError(f"{printable(source.name)} is not a torch file, so a run cannot start from it", hint=hint)
    parts = [Path(name) for name in checkpoint.files if Path(name).suffix == source.suffix]
    if any(not part.is_symlink() and not part.samefile(source) for part in parts if part.exists()):
        raise UsageError(
            f"{printable(source.name)} is one of several files of its checkpoint; a run starts from one torch file",
            hint=hint,
        )


def _fork_manifest(checkpoint: Checkpoint, parent: Run, destination: Path) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    monitor: str | None = parent.monitor
    if parent.own:
        try:
            theirs = files.read_json(RunPaths(Path(parent.path)).manifest)
            policy, monitor = theirs.get("policy") or {}, theirs.get("monitor")
        except (OSError, ValueError, AttributeError):
            policy = {}
    return new_manifest(
        destination.name,
        parent={"run": parent.id, "checkpoint": checkpoint.id, "path": checkpoint.path},
        config=parent.config,
        policy=policy,
        monitor=monitor,
        mode=parent.mode,
    )


def _copy_start(
    checkpoint: Checkpoint, source: Path, run_id: str, paths: RunPaths, progress: files.Progress | None
) -> None:
    paths.checkpoints.mkdir()
    name = f"fork-{source.stem.removeprefix('fork-')}{CHECKPOINT_SUFFIX}"
    if name in POINTER_NAMES:
        name = f"fork-{checkpoint.id}{CHECKPOINT_SUFFIX}"
    target = paths.checkpoints / name
    files.copy_file(source, target, progress=progress)
    found = inspect(target)
    if found.fingerprint != checkpoint.fingerprint:
        raise CorruptError(f"{printable(str(source))} changed while it was copied", hint="try again")
    marker = {
        "format": 1,
        "id": checkpoint_id(run_id, name, found.fingerprint),
        "run": run_id,
        "file": name,
        "seq": 0,
        "attempt": 0,
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "loss": None,
        "learning_rate": checkpoint.learning_rate,
        "metrics": {},
        "saved_at": time.time(),
        "bytes": target.stat().st_size,
        "hash": "blake3:" + files.hash_file(target),
        "fingerprint": found.fingerprint,
        "label": "fork",
        "is_best": False,
        "state": {"origin": {"checkpoint": checkpoint.id, "path": checkpoint.path}},
    }
    files.write_json(target.with_suffix(MARKER_SUFFIX), marker, overwrite=False)


def _tell_parent(checkpoint: Checkpoint, parent: Run, manifest: dict[str, Any]) -> None:
    try:
        marks.append(
            RunPaths(Path(parent.path)).marks,
            "fork",
            checkpoint.id,
            file=Path(checkpoint.path).name,
            child=manifest["id"],
            name=manifest["name"],
        )
    except OSError:
        # A parent on a read-only disk cannot be told; the fork's own manifest still names it.
        return
