"""What a writer that died over a job has left in the run: found, and taken away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path

from ckpt.paths import MARKER_SUFFIX, TEMPORARY, RunPaths
from ckpt.protocol import checkpoint_to_json
from ckpt.writing import committing
from ckpt.writing.jobs import Job, Outcome


def names_in_use(job: Job) -> frozenset[str]:
    """The names that the job's file cannot get, up to the first that is free."""
    family = committing.family(_checkpoints(job), job.stem)
    return frozenset(path.name for path in takewhile(committing.is_taken, family))


def committed(job: Job) -> Outcome | None:
    """The outcome of a job whose checkpoint is committed all the same. Raises OSError."""
    found = committing.earlier(_checkpoints(job), job.stem, job.marker) if job.commit else None
    if found is None:
        return None
    record = checkpoint_to_json(found.record)
    return Outcome(number=job.number, path=os.fsencode(found.path), marker=found.marker, record=record)


def clear_temporaries(job: Job, writer: int) -> None:
    """Removes the temporary files of the dead process `writer` in the job's run."""
    directory = _checkpoints(job)
    for place in (directory, directory.parent):
        with contextlib.suppress(OSError):
            for name in os.listdir(place):
                match = TEMPORARY.match(name)
                if match and int(match["pid"]) == writer:
                    with contextlib.suppress(OSError):
                        os.unlink(place / name)


def clear_uncommitted(job: Job, in_use: Collection[str]) -> None:
    """Removes a file that got its name and not its marker; `in_use` are the names that were there before the job."""
    directory = _checkpoints(job)
    for name in names_in_use(job) - frozenset(in_use):
        path = directory / name
        if not os.path.lexists(path.with_suffix(MARKER_SUFFIX)):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _checkpoints(job: Job) -> Path:
    return RunPaths(Path(os.fsdecode(job.run))).checkpoints
