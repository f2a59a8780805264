"""What a training that was killed left half way in its run, put right before the next one begins."""

from __future__ import annotations

import logging

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt.paths import RunPaths

log = logging.getLogger("ckpt.runs")

_AGE_S = 60.0
"""How old a temporary file is that goes, whose process may live on another machine."""


def recover(paths: RunPaths, *, only_here: bool = False) -> None:
    """Removes temporary files and finishes what was begun in the trash; to be called with the run's lock held.

    With `only_here` no other machine has trained the run, so what a process that has ended left goes at once. A trash
    that is damaged does not keep a training from starting.
    """
    for directory in (paths.directory, paths.checkpoints):
        files.sweep_temporaries(directory, older_than_s=0.0 if only_here else _AGE_S)
    _recover_trash(paths)


def _recover_trash(paths: RunPaths) -> None:
    if not paths.trash.is_dir():
        return
    from ckpt.trash import Trash

    name = printable(paths.directory.name)
    try:
        for done in Trash(paths.trash).recover():
            log.info("run %s: %s", name, done)
    except (OSError, CkptError) as error:
        log.warning("the trash of run %s could not be recovered: %s", name, error)
