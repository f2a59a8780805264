"""Restore and fork: acts that bring a checkpoint or a run to another place, by reflink or by bytes.

Never by hard link: a training that rewrites the copy must not change the original. Nothing is ever overwritten.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckpt import files, marks
from ckpt.encoding import printable
from ckpt.exceptions import CorruptError, IncompleteError, OperationError, UsageError
from ckpt.formats import inspect
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, POINTER_NAMES, RunPaths, is_temporary
from ckpt.records import Checkpoint, Run, checkpoint_id

_NOT_RESTORED = frozenset({".trash", "run.lock"})


def restore_checkpoint(
    checkpoint_files: Sequence[Path], destination: Path, *, progress: files.Progress | None = None
) -> list[Path]:
    """Copies the files of one checkpoint to `destination` and returns their new paths.

    A directory, or a name without suffix, takes them under their own names; otherwise `destination` is the new name of
    the first file, and side files are named after it. Raises UsageError when a name is taken, and
    OperationError, with nothing left behind, when a copy fails.
    """
    sources = [path for path in checkpoint_files if not path.is_symlink()]
    main = sources[0]
    if destination.is_dir() or not destination.suffix:
        pairs = [(source, destination / source.name) for source in sources]
    else:
        pairs = [(main, destination)]
        pairs += [(s, destination.with_suffix(s.suffix)) for s in sources[1:] if s.suffix != destination.suffix]
    for _, target in pairs:
        if os.path.lexists(target):
            raise UsageError(
                f"{printable(str(target))} exists already", hint="choose another destination: nothing is overwritten"
            )
    done: list[Path] = []
    try:
        pairs[0][1].parent.mkdir(parents=True, exist_ok=True)
        for source, target in pairs:
            files.copy_file(source, target, progress=progress)
            done.append(target)
    except OSError as error:
        for target in done:
            target.unlink(missing_ok=True)
        raise OperationError(f"{printable(str(main))} could not be copied: {error}") from error
    except BaseException:
        for target in done:
            target.unlink(missing_ok=True)
        raise
    return done


def restore_run(directory: Path, destination: Path, *, progress: files.Progress | None = None) -> Path:
    """Copies a whole run directory, without its trash, to `destination`, which must not exist.

    It is made under a temporary name and appears whole or not at all. Symbolic links are copied as links. Raises
    UsageError when the name is taken and OperationError when a copy fails.
    """
    destination = Path(os.path.abspath(destination))
    if destination.is_dir() and not os.listdir(destination):
        destination.rmdir()
    if os.path.lexists(destination):
        raise UsageError(
            f"{printable(str(destination))} exists already", hint="choose another destination: nothing is overwritten"
        )
    if destination.is_relative_to(os.path.abspath(directory)):
        raise UsageError("a run cannot be restored into itself", hint="choose a destination outside of it")
    staging = files.temporary_name(destination)
    try:
        staging.mkdir(parents=True)
        _copy_tree(directory, staging, progress)
        os.rename(staging, destination)
        files.fsync_directory(destination.parent)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise OperationError(f"{printable(str(directory))} could not be copied: {error}") from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return destination


def _copy_tree(source: Path, target: Path, progress: files.Progress | None) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name in _NOT_RESTORED or is_temporary(entry.name):
                continue
            copy = target / entry.name
            if entry.is_symlink():
                copy.symlink_to(os.readlink(entry.path))
            elif entry.is_dir(follow_symlinks=False):
                copy.mkdir()
                _copy_tree(Path(entry.path), copy, progress)
                shutil.copystat(entry.path, copy)
            elif entry.is_file(follow_symlinks=False):
                files.copy_file(Path(entry.path), copy, progress=progress)


def tree_bytes(directory: Path) -> int:
    """Bytes that `restore_run` will copy."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name in _NOT_RESTORED or is_temporary(entry.name) or entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                total += tree_bytes(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def new_manifest(name: str, **fields: Any) -> dict[str, Any]:
    """The content of a fresh `run.json`; `fields` replace the defaults.

    Raises UsageError for a field that a manifest does not have.
    """
    manifest: dict[str, Any] = {
        "format": 1,
        "id": uuid.uuid4().hex,
        "name": name,
        "created": time.time(),
        "parent": None,
        "config": {},
        "policy": {},
        "monitor": None,
        "mode": "min",
        "model_name": None,
        "experiment_name": None,
        "host": {
            "hostname": socket.gethostname(),
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "attempts": [],
        "ending": None,
    }
    unknown = set(fields) - set(manifest)
    if unknown:
        raise UsageError(f"a run's manifest has no {', '.join(sorted(unknown))}")
    return {**manifest, **fields}


def fork(checkpoint: Checkpoint, parent: Run, destination: Path, *, progress: files.Progress | None = None) -> Path:
    """Makes a new own run that starts at a checkpoint of another run, and returns its directory.

    The checkpoint is copied as the fork's start; its metrics are not, so the fork finds its own best. Config, monitor
    and, from an own parent, the policy go along. Lineage is written into the fork and, best effort, into the parent's
    marks, which protects the parent's checkpoint. Raises IncompleteError or CorruptError for a checkpoint that is not
    whole, UsageError when the destination is taken, OperationError when a copy fails.
    """
    if checkpoint.state in ("writing", "incomplete"):
        raise IncompleteError(f"{printable(checkpoint.path)} is not complete", hint="fork from a complete checkpoint")
    if checkpoint.state != "complete":
        raise CorruptError(f"{printable(checkpoint.path)} is damaged: {'; '.join(checkpoint.problems)}")
    destination = Path(os.path.abspath(destination))
    source = Path(checkpoint.path)
    if source.suffix != CHECKPOINT_SUFFIX and checkpoint.format != "torch":
        raise UsageError(
            f"{printable(source.name)} is not a torch file, so a run cannot start from it",
            hint="`ckpt restore` copies it as it is",
        )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.mkdir()
    except FileExistsError:
        raise UsageError(
            f"{printable(str(destination))} exists already", hint="choose another name for the fork"
        ) from None
    except OSError as error:
        raise OperationError(f"{printable(str(destination))} cannot be made: {error.strerror}") from error
    try:
        manifest = _fork_manifest(checkpoint, parent, destination)
        _copy_start(checkpoint, source, manifest["id"], RunPaths(destination), progress)
        files.write_json(RunPaths(destination).manifest, manifest, overwrite=False)
    except OSError as error:
        shutil.rmtree(destination, ignore_errors=True)
        raise OperationError(f"the fork could not be made: {error}") from error
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise
    if parent.own:
        _tell_parent(checkpoint, parent, manifest)
    return destination


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
