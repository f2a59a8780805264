"""What every feed does on this machine's disk itself: look into, compare, restore, fork."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckpt import copies, scan
from ckpt.diff import diff, difference_to_json
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, UsageError
from ckpt.records import Checkpoint, Run
from ckpt_tui.dashboard.acts import Act, fork_destination
from ckpt_tui.lookup import other_parts


def compare(a: Checkpoint, b: Checkpoint) -> dict[str, Any]:
    """Two checkpoints in the shape of `ckpt diff --json`. Raises CkptError and OSError."""
    return difference_to_json(diff(a.path, b.path))


def resume(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """What a training finds in a checkpoint; None for one of several files, or not whole. Raises OSError."""
    if other_parts(checkpoint):
        return None
    found = scan.Cache().inspect(checkpoint.path, os.stat(checkpoint.path))
    return found.resume or None


def as_on_disk(run: Run, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as it lies there now, with all its files. Raises AddressError when it is gone or another one."""
    view = scan.read_run(Path(run.path), root=Path(run.root))
    for found in view.checkpoints:
        if found.path == checkpoint.path and found.fingerprint == checkpoint.fingerprint:
            return found
    raise AddressError(f"{printable(checkpoint.path)} is not what it was: it was rewritten or removed")


def restore(act: Act) -> str:
    """Copies a checkpoint's files. Raises CkptError and OSError."""
    run, checkpoint = _subject(act)
    target = Path(os.path.abspath(os.path.expanduser(act.text)))
    if act.text.endswith(os.sep):
        target.mkdir(parents=True, exist_ok=True)
    paths = copies.restore_checkpoint([Path(p) for p in as_on_disk(run, checkpoint).files], target)
    return f"restored {printable(str(paths[0]))}"


def fork(act: Act) -> Path:
    """Makes a run that starts at a checkpoint; returns its directory. Raises CkptError and OSError."""
    run, checkpoint = _subject(act)
    from ckpt.runs import forking

    found: Checkpoint = as_on_disk(run, checkpoint).evolve(id=checkpoint.id)
    return forking.fork(found, run, Path(fork_destination(act)))


def _subject(act: Act) -> tuple[Run, Checkpoint]:
    if act.run is None or act.checkpoint is None:
        raise UsageError(f"{act.kind} needs a checkpoint")
    return act.run, act.checkpoint
