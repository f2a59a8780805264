"""The names and listings by which runs, their parts and their checkpoints are told."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from ckpt import formats
from ckpt.formats.directories import known
from ckpt.formats.directories.bounds import MAX_DEPTH
from ckpt.paths import RunPaths, is_cut, is_step, is_temporary

CHECKPOINT_DIRECTORIES = frozenset({"checkpoints", "checkpoint", "ckpts", "ckpt", "weights", "models", "recipe_state"})
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


def may_be_checkpoint(name: str) -> bool:
    """Whether a file of that name may be a checkpoint, and a whole one."""
    return formats.may_be_file(name) and not is_temporary(name)


def is_part(directory: str) -> bool:
    """Whether a directory's name stands for a part of the run above it."""
    return os.path.basename(directory).lower() in CHECKPOINT_DIRECTORIES


def run_above(directory: str, top: str) -> str:
    """The run that checkpoints directly in a directory belong to, `top` being the watched directory."""
    while directory != top and is_cut(directory):
        directory = os.path.dirname(directory)
    if directory != top and is_step(directory):
        directory = os.path.dirname(directory)
    return os.path.dirname(directory) if directory != top and is_part(directory) else directory


def is_checkpoint(directory: str) -> bool:
    """Whether a directory is one checkpoint, by the names in it. Raises OSError when it cannot be listed."""
    with os.scandir(directory) as listing:
        return known.recognise_listed(os.path.basename(directory), listing) is not None


def topmost_checkpoint(path: str, top: str) -> str | None:
    """The checkpoint directory that a path is, or lies in, below `top` or `top` itself; None when there is none.

    Directories that cannot be listed are none.
    """
    above = [path]
    while above[-1] != top and len(above) <= MAX_DEPTH:
        above.append(os.path.dirname(above[-1]))
    for directory in reversed(above):
        with contextlib.suppress(OSError):
            if is_checkpoint(directory):
                return directory
    return None
