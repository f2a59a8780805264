"""Whether a file will fit on its disk, and what is said when it does not."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from ckpt.encoding import printable, quoted
from ckpt.records import Record
from ckpt.retention.quantities import duration_text, measured_text
from ckpt.writing.jobs import Failure, Job
from ckpt.writing.place import UNTOUCHED

BESIDE = 128 << 10
"""Bytes that a commit needs beside the file: its marker, the directory's entries, a line in the trash's journal."""


class Forecast(Record, frozen=True, kw_only=True):
    """What a file needs and what there is."""

    need: int
    """Bytes of the file with all that its commit takes."""
    free: int | None
    """Bytes that this user may still take; None where nobody says."""

    @property
    def missing(self) -> int | None:
        """Bytes that it lacks; None when there is room, and still the disk was full."""
        return None if self.free is None or self.fits else self.need - self.free

    @property
    def fits(self) -> bool:
        """Whether there is room as far as is known. Quotas and others who write may still prove it wrong."""
        return self.free is None or self.need <= self.free


def forecast(directory: Path, size: int) -> Forecast:
    """What a file of `size` bytes in `directory` will meet. Raises OSError when the directory is gone."""
    return Forecast(need=size + BESIDE, free=_free(directory))


def _free(directory: Path) -> int | None:
    if not hasattr(os, "statvfs"):
        return shutil.disk_usage(directory).free
    found = os.statvfs(directory)
    if found.f_blocks == 0:
        return None  # some network and user-space file systems count nothing
    return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize


def is_full(error: BaseException) -> bool:
    """Whether something failed because the disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def no_room(
    job: Job, directory: Path, expected: Forecast, error: OSError | None = None, cut: str | None = None
) -> Failure:
    """The failure of a job that found no room: by forecast, or by the error that its write met.

    `cut` says why its wait for room ended before its time.
    """
    number = errno.ENOSPC if error is None or error.errno is None else error.errno
    skipped = job.when_full == "skip"
    waited = f" after {duration_text(job.full_wait_s)}" if job.when_full == "wait" else ""
    if cut is not None:
        waited = f"; {cut}"
    return Failure(
        kind="skipped" if skipped else "full",
        message=f"{printable(job.stem)} {'was skipped' if skipped else 'could not be saved'}: {os.strerror(number)}"
        f"{waited}; {_figures(directory, expected)}",
        hint=f"{_what_frees(job)}; {_OTHERWISE[job.when_full]}; {UNTOUCHED}",
        errno=number,
    )


def waits(job: Job, directory: Path, expected: Forecast) -> str:
    """What is told when a job begins to wait for room."""
    return (
        f"{printable(job.stem)} waits up to {duration_text(job.full_wait_s)} for room on the disk; "
        f"{_figures(directory, expected)}; {_what_frees(job)}"
    )


_OTHERWISE = {
    "raise": "when_disk_full='wait' would wait for room, 'skip' go on without this checkpoint",
    "wait": "disk_full_wait says how long to wait",
    "skip": "when_disk_full='wait' would wait for room",
}


def _figures(directory: Path, expected: Forecast) -> str:
    free = "nobody says how much" if expected.free is None else measured_text(expected.free)
    told = f"it needs {measured_text(expected.need)}, and {free} is free in {printable(str(directory))}"
    return f"{told}: a quota or the number of files may be at its end" if expected.fits else told


def _what_frees(job: Job) -> str:
    run = quoted(Path(os.fsdecode(job.run)).name)
    return f"`ckpt du` shows what takes the room, `ckpt prune {run}` and `ckpt trash purge {run}` give some back"
