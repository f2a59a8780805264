"""How the daemon of this machine hears of a run, wherever it lies: a small file in the daemon's state directory."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from ckpt import files
from ckpt.encoding import dumps, path_fields, printable
from ckpt.exceptions import CkptError
from ckpt.paths import StatePaths

log = logging.getLogger("ckpt.runs")


def announce(run_id: str, directory: Path) -> None:
    """Tells where a run is; never fails, and never waits for a disk."""
    try:
        state = StatePaths.here()
        state.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        announced = state.announced
        announced.mkdir(exist_ok=True, mode=0o700)
        target = announced / f"{run_id}.json"
        temporary = files.temporary_name(target)
        content = {**path_fields(str(directory)), "id": run_id, "at": time.time()}
        temporary.write_bytes(dumps(content) + b"\n")
        os.replace(temporary, target)
    except (OSError, CkptError, ValueError, RuntimeError) as error:
        log.debug("run %s could not be announced: %s", printable(directory.name), error)
