"""The pointers of own runs, `latest.pt` and `best.pt`, brought after what they stand for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ckpt import pointers
from ckpt.paths import RunPaths
from ckpt.scan import RunView


def is_stale(view: RunView) -> bool:
    """Whether a pointer of an own run stands for another checkpoint than it should. Raises nothing."""
    try:
        return any(_is_link(pointer) and not pointers.points_at(pointer, t) for pointer, t in _targets(view).items())
    except OSError:
        # It went away in this moment, or its disk fails: there is nothing to bring up to date now.
        return False


def swap_all(view: RunView) -> None:
    """Makes the pointers of an own run stand for what they should. Raises OSError. Needs the run's lock."""
    for pointer, target in _targets(view).items():
        if _is_link(pointer):
            pointers.swap(pointer, target)


def _targets(view: RunView) -> dict[Path, Path]:
    """Pointer files that exist, and what each should stand for."""
    paths = RunPaths(Path(view.run.path))
    wanted = {"latest": paths.latest, "best": paths.best}
    return {
        wanted[tag]: Path(checkpoint.path)
        for checkpoint in view.checkpoints
        for tag in checkpoint.tags
        if tag in wanted and os.path.lexists(wanted[tag])
    }


def _is_link(pointer: Path) -> bool:
    """A copy cannot be told from its target without reading both; those are left to the training."""
    info = pointer.lstat()
    return stat.S_ISLNK(info.st_mode) or info.st_nlink > 1
