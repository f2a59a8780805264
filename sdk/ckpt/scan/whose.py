"""The run that a path belongs to, and the checkpoint that it names."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import AddressError
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, is_step
from ckpt.scan.finding import is_own, may_be_checkpoint, run_above, topmost_checkpoint
from ckpt.scan.listing import listing


def run_of(path: Path) -> tuple[Path, Path | None]:
    """The run directory that a path belongs to, and the checkpoint, file or directory, when the path is one.

    A file inside a checkpoint directory stands for that checkpoint, and so does the directory of one step, which is
    named by a file in it. Raises AddressError when nothing there is a run or a checkpoint.
    """
    path = Path(os.path.abspath(path))
    if path.is_dir():
        if is_own(path):
            return path, None
        if is_own(path.parent) and path.name == "checkpoints":
            return path.parent, None
    elif not os.path.lexists(path):
        raise AddressError(f"there is no {printable(str(path))}")
    if path.suffix == MARKER_SUFFIX and path.with_suffix(CHECKPOINT_SUFFIX).exists():
        path = path.with_suffix(CHECKPOINT_SUFFIX)
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        if target.parent == Path(os.path.realpath(path.parent)):
            path = path.parent / target.name
    if path.parent.name == "checkpoints" and is_own(path.parent.parent):
        return path.parent.parent, path
    whole = topmost_checkpoint(str(path), "/")
    if whole is not None:
        return Path(run_above(os.path.dirname(whole), "/")), Path(whole)
    if not path.is_dir():
        return Path(run_above(str(path.parent), "/")), path
    run, inside = Path(run_above(str(path), "/")), _checkpoints_in(path)
    if inside:
        return run, Path(inside[0]) if is_step(str(path)) else None
    if not any(path.iterdir()) and str(path) in _checkpoints_in(path.parent):
        # The directory of a checkpoint that nothing was written to yet.
        return Path(run_above(str(path.parent), "/")), path
    raise AddressError(
        f"{printable(str(path))} holds no run and no checkpoint",
        hint="name a run directory or a checkpoint; `ckpt ls DIR` lists what lies below a directory",
    )


def _checkpoints_in(directory: Path) -> list[str]:
    """The checkpoints that lie directly in a directory, or in a part of it."""
    try:
        listed = listing(str(directory))
    except OSError:
        return []
    files = [file.path for file in listed.files if may_be_checkpoint(os.path.basename(file.name))]
    return [*files, *(found.path for found in listed.directories)]
