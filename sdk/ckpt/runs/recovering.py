"""What a training that was killed left half way in its run, put right before the next one begins."""

from __future__ import annotations

import logging

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt.paths import RunPaths

log = logging.getLogger("ckpt.runs")


def recover(paths: RunPaths) -> None:
    """Removes temporary files and finishes what was begun in the trash; to be called with the run's lock held.

    A trash that is damaged does not keep a training from starting.
    """
    for directory in (paths.directory, paths.checkpoints):
        files.sweep_temporaries(directory)
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
