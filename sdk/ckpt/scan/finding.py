"""Where runs are: the walk below a root, and the run that a path belongs to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ckpt import formats
from ckpt.encoding import printable
from ckpt.exceptions import AddressError
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, RunPaths, is_temporary
from ckpt.scan.excludes import Excludes

CHECKPOINT_DIRECTORIES = frozenset({"checkpoints", "checkpoint", "ckpts", "ckpt", "weights", "models"})
"""Names that stand for a part of a run and not for the run."""
MAX_DEPTH = 24  # directories below a root


def is_own(directory: Path) -> bool:
    """Whether the SDK made the run in a directory."""
    return RunPaths(directory).manifest.is_file()


def find_runs(root: Path, *, exclude: Sequence[str] = ()) -> list[Path]:
    """Run directories at and below `root`, sorted.

    `exclude` adds glob patterns of directory names or of paths relative to the root. Directories that cannot be read
    are passed over. Raises OSError when the root itself cannot be read.
    """
    excludes = Excludes(str(root), exclude)
    found: set[Path] = set()
    stack: list[tuple[Path, int]] = [(root, 0)]
    while stack:
        directory, depth = stack.pop()
        try:
            with os.scandir(directory) as listing:
                entries = list(listing)
        except OSError:
            if directory == root:
                raise
            continue
        names = {entry.name for entry in entries}
        if "run.json" in names and is_own(directory):
            found.add(directory)
            continue
        for entry in entries:
            if entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH and not excludes.passes_over(entry.path):
                    stack.append((Path(entry.path), depth + 1))
            elif may_be_checkpoint(entry.name):
                found.add(foreign_directory(directory, root))
    return sorted(found)


def may_be_checkpoint(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in formats.SUFFIXES and not is_temporary(name)


def foreign_directory(directory: Path, root: Path) -> Path:
    if directory != root and directory.name.lower() in CHECKPOINT_DIRECTORIES:
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
        if any(may_be_checkpoint(name) for name in _names(path)) or any(
            may_be_checkpoint(name) for part in checkpoint_parts(path) for name in _names(part)
        ):
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
    """Subdirectories of a foreign run that are parts of it."""
    return [
        directory / name
        for name in sorted(_names(directory))
        if name.lower() in CHECKPOINT_DIRECTORIES and not (directory / name).is_symlink()
    ]
