"""The run that a path belongs to, and the names by which runs and checkpoints are told."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ckpt import formats
from ckpt.encoding import printable
from ckpt.exceptions import AddressError
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, RunPaths, is_temporary

CHECKPOINT_DIRECTORIES = frozenset({"checkpoints", "checkpoint", "ckpts", "ckpt", "weights", "models"})
"""Names that stand for a part of a run and not for the run."""


def is_own(directory: Path) -> bool:
    """Whether the SDK made the run in a directory. Raises OSError when that cannot be told, as on a failing disk."""
    try:
        return stat.S_ISREG(os.stat(RunPaths(directory).manifest).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return False
        raise


def checkpoint_suffix(name: str) -> bool:
    """Whether a file's suffix is one of a checkpoint."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in formats.SUFFIXES


def may_be_checkpoint(name: str) -> bool:
    """Whether a file of that name may be a checkpoint, and a whole one."""
    return checkpoint_suffix(name) and not is_temporary(name)


def is_part(directory: str) -> bool:
    """Whether a directory's name stands for a part of the run above it."""
    return os.path.basename(directory).lower() in CHECKPOINT_DIRECTORIES


def foreign_directory(directory: Path, root: Path) -> Path:
    if directory != root and is_part(str(directory)):
        return directory.parent
    return directory


def run_of(path: Path) -> tuple[Path, Path | None]:
    """The run directory that a path belongs to, and the checkpoint file when the path is one.

    Raises AddressError when nothing there is a run or a checkpoint.
    """
    path = Path(os.path.abspath(path))
    if path.is_dir():
        if is_own(path):
            return path, None
        if is_own(path.parent) and path.name == "checkpoints":
            return path.parent, None
        if any(may_be_checkpoint(name) for part in (path, *_parts(path, _names(path))) for name in _names(part)):
            return foreign_directory(path, Path("/")), None
        raise AddressError(
            f"{printable(str(path))} holds no run and no checkpoint",
            hint="name a run directory or a checkpoint file; `ckpt ls DIR` lists what lies below a directory",
        )
    if not os.path.lexists(path):
        raise AddressError(f"there is no {printable(str(path))}")
    if path.suffix == MARKER_SUFFIX and path.with_suffix(CHECKPOINT_SUFFIX).exists():
        path = path.with_suffix(CHECKPOINT_SUFFIX)
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        if target.parent == Path(os.path.realpath(path.parent)):
            path = path.parent / target.name
    if path.parent.name == "checkpoints" and is_own(path.parent.parent):
        return path.parent.parent, path
    return foreign_directory(path.parent, Path("/")), path


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def checkpoint_parts(directory: Path) -> list[Path]:
    """Subdirectories of a foreign run that are parts of it. Raises OSError when it cannot be listed."""
    return _parts(directory, os.listdir(directory))


def _parts(directory: Path, names: Sequence[str]) -> list[Path]:
    return [
        directory / name
        for name in sorted(names)
        if name.lower() in CHECKPOINT_DIRECTORIES and not (directory / name).is_symlink()
    ]
