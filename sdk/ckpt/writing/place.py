"""Where a run's checkpoints go: whether that is still there, and what is said when it is not or takes no file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import SaveError
from ckpt.paths import RunPaths
from ckpt.writing.jobs import Failure, Job

UNTOUCHED = "earlier checkpoints are untouched"
_GONE = (
    "mount its disk again, or bring the directory back, and the next save works; a training that is started again with "
    "another directory begins a new run"
)
_HINTS = {
    errno.EROFS: f"`mount -o remount,rw` makes it writable again; {UNTOUCHED}",
    errno.EACCES: f"`ls -ld` shows whose it is; {UNTOUCHED}",
    errno.EPERM: f"`ls -ld` and `lsattr -d` show whose it is and whether it is protected; {UNTOUCHED}",
    errno.EIO: "the disk or the way to it fails: `dmesg` may tell more; save to another disk",
    errno.ESTALE: "its server does not know it any more: mount it again",
    errno.ENOTCONN: "its file system has ended: mount it again",
    errno.ENODEV: "its device is gone: mount it again",
}


def directory_of(job: Job) -> Path:
    """The directory that the job's file belongs in; made again where only it is gone.

    Raises SaveError when the run is gone, OSError.
    """
    paths = RunPaths(Path(os.fsdecode(job.run)))
    if not paths.checkpoints.is_dir():
        missing = _missing(paths, job)
        if missing is not None:
            raise SaveError(f"{printable(job.stem)} could not be saved: {missing}", hint=_GONE)
        files.make_directory(paths.checkpoints)
    return paths.checkpoints


def failure(job: Job, error: OSError) -> Failure:
    """Why a job's file could not be written: the directory, and what would help."""
    paths = RunPaths(Path(os.fsdecode(job.run)))
    missing = None
    try:
        if not paths.checkpoints.is_dir():
            missing = _missing(paths, job)
    except OSError:
        pass  # the error that there is tells more
    reason = error.strerror or str(error) or type(error).__name__
    where = f"{reason}: {printable(str(paths.checkpoints))}" if missing is None else missing
    return Failure(
        kind="failed",
        message=f"{printable(job.stem)} could not be saved: {where}",
        hint=_GONE if missing is not None else _HINTS.get(error.errno or 0, UNTOUCHED),
        errno=error.errno,
    )


def _missing(paths: RunPaths, job: Job) -> str | None:
    """What is no longer there of a run whose checkpoints are not; None when they alone are not. Raises OSError."""
    shown, run = printable(str(paths.directory)), job.marker.get("run")
    if not paths.directory.is_dir():
        return f"{os.strerror(errno.ENOENT)}: {shown}, the directory of the run, is gone"
    try:
        said = files.read_json(paths.manifest)
    except FileNotFoundError:
        return f"{os.strerror(errno.ENOENT)}: {shown} is no run any more, for its run.json is gone"
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("id") != run:
        return f"{shown} is not the run that is trained: its run.json is of another"
    return None
