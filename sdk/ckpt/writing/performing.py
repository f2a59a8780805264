"""One job from first byte to last: room, file, proof, commit, upkeep."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ckpt import files, formats
from ckpt.encoding import printable
from ckpt.exceptions import CkptError, SaveError
from ckpt.paths import CHECKPOINT_SUFFIX, RunPaths
from ckpt.protocol import checkpoint_to_json
from ckpt.writing import committing, disk, room, upkeep
from ckpt.writing.committing import Committed
from ckpt.writing.image import Image
from ckpt.writing.jobs import Failure, Job, Outcome, Staged
from ckpt.writing.sealing import Seal, Sealer

_POLL_S = 1.0
"""How often a job that waits looks for room."""
_MOST_S = 30.0
"""The longest pause where a disk seems to have room and has none."""

Tell = Callable[[str], None]


def perform(job: Job, image: Image, tell: Tell | None = None) -> Outcome:
    """Writes an image and makes it a checkpoint; every failure is in the outcome, with nothing listed or left behind.

    `tell` is told at once when the job begins to wait for room. What an earlier attempt at this job had committed is
    not written again. An interrupt passes through; what was committed before it stays.
    """
    directory = _paths(job).checkpoints
    try:
        found = committing.earlier(directory, job.stem, job.marker)
        if found is not None:
            return _after_commit(job, found, Outcome(number=job.number))
        files.remove_left_behind(directory / f"{job.stem}{CHECKPOINT_SUFFIX}")
        return _where_there_is_room(job, image, directory, tell)
    except Exception as error:  # noqa: BLE001
        return Outcome(number=job.number, failure=_failure(job.stem, error))


def commit_staged(job: Job, staged: Staged) -> Outcome:
    """Makes the file that a job with `commit=False` wrote a checkpoint; when that fails, the file is gone too."""
    try:
        return _commit(job, staged, Outcome(number=job.number))
    except Exception as error:  # noqa: BLE001
        return Outcome(number=job.number, failure=_failure(job.stem, error))


def _where_there_is_room(job: Job, image: Image, directory: Path, tell: Tell | None) -> Outcome:
    until = time.monotonic() + job.full_wait_s
    pause = _POLL_S
    told: tuple[str, ...] = ()
    while True:
        expected, error = room.forecast(directory, image.layout.size), None
        if expected.fits:
            try:
                done = _write_and_commit(job, image, directory)
                return done.evolve(told=(*told, *done.told))  # type: ignore[no-any-return]
            except OSError as failed:
                if not room.is_full(failed):
                    raise
                expected, error = room.forecast(directory, image.layout.size), failed
        left = until - time.monotonic()
        if job.when_full != "wait" or left <= 0:
            return Outcome(number=job.number, failure=room.no_room(job, directory, expected, error), told=told)
        if not told:
            waits = room.waits(job, directory, expected)
            told = (waits,)
            if tell is not None:
                tell(waits)
        time.sleep(min(pause, left))
        pause = _POLL_S if error is None else min(2 * pause, _MOST_S)


def write_proven(directory: Path, stem: str, image: Image) -> tuple[Staged, Seal, disk.Written]:
    """Writes an image under a temporary name in a directory: durable, and read again as what it is to be.

    Raises OSError, and SaveError when what was written is no whole checkpoint; nothing is left behind then.
    """
    temporary = files.temporary_name(directory / f"{stem}{CHECKPOINT_SUFFIX}")
    sealer = Sealer(image.layout, image.known)
    written = disk.write(temporary, _sealed(image, sealer), image.layout.size)
    try:
        seal = sealer.finish()
        inspection = formats.inspect(temporary)
        # Under a temporary name, what cannot be recognised is no problem in itself.
        if inspection.state != "complete" or inspection.format != "torch":
            problems = "; ".join(inspection.problems) or "it cannot be recognised"
            raise SaveError(f"{printable(stem)} was not written as it should be: {problems}")
    except BaseException:
        committing.discard(temporary)
        raise
    staged = Staged(
        path=os.fsencode(temporary),
        stem=stem,
        size=image.layout.size,
        hash=seal.hash,
        fingerprint=inspection.fingerprint,
        inode=written.inode,
    )
    return staged, seal, written


def _write_and_commit(job: Job, image: Image, directory: Path) -> Outcome:
    staged, seal, written = write_proven(directory, job.stem, image)
    outcome = Outcome(number=job.number, crcs=seal.crcs, written_s=written.seconds, direct=written.direct)
    return _commit(job, staged, outcome) if job.commit else outcome.evolve(staged=staged)


def _sealed(image: Image, sealer: Sealer) -> Iterator[memoryview]:
    for chunk in image.chunks():
        sealer.seal(chunk)
        yield chunk


def _commit(job: Job, staged: Staged, outcome: Outcome) -> Outcome:
    taken = frozenset(job.taken)
    try:
        taken |= upkeep.taken_names(_paths(job))
    except (OSError, CkptError) as error:
        told = f"the trash of run {_name(job)} cannot be read: {error}"
        outcome = outcome.evolve(told=(*outcome.told, told))
    return _after_commit(job, committing.commit(staged, taken, job.marker), outcome)


def _after_commit(job: Job, committed: Committed, outcome: Outcome) -> Outcome:
    """Keeps the run in order; a failure of that is told, for the checkpoint is saved."""
    record, told = committed.record, outcome.told
    try:
        kept = _upkeep(job.run, str(job.marker.get("run")), job.marker.get("attempt")).after_save()
        record = next((c for c in kept.view.checkpoints if c.path == record.path), record)
        told = (*told, *kept.told)
    except Exception as error:  # noqa: BLE001
        told = (*told, f"run {_name(job)} could not be looked at after a save: {error}")
    return outcome.evolve(  # type: ignore[no-any-return]
        path=os.fsencode(committed.path), marker=committed.marker, record=checkpoint_to_json(record), told=told
    )


@functools.lru_cache(maxsize=8)
def _upkeep(run: bytes, run_id: str, attempt: int | None) -> upkeep.Upkeep:
    """One for each attempt at a run: it remembers what it looked at and what it told."""
    return upkeep.Upkeep(RunPaths(Path(os.fsdecode(run))))


def _paths(job: Job) -> RunPaths:
    return RunPaths(Path(os.fsdecode(job.run)))


def _name(job: Job) -> str:
    return printable(_paths(job).directory.name)


def _failure(stem: str, error: Exception) -> Failure:
    if isinstance(error, CkptError):
        return Failure(kind="failed", message=error.message, hint=error.hint)
    number = error.errno if isinstance(error, OSError) else None
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return Failure(
        kind="full" if room.is_full(error) else "failed",
        message=f"{printable(stem)} could not be saved: {reason}",
        hint="earlier checkpoints are untouched",
        errno=number,
    )
