"""Restore: brings a checkpoint or a whole run to another place, by reflink or by bytes.

Never by hard link: a training that rewrites the copy must not change the original. Nothing is ever overwritten.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import OperationError, UsageError
from ckpt.paths import is_temporary

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
