"""One job from first byte to last: room, file, proof, commit, upkeep."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ckpt import files, formats
from ckpt.encoding import printable
from ckpt.exceptions import CkptError, SaveError
from ckpt.paths import CHECKPOINT_SUFFIX, RunPaths
from ckpt.protocol import checkpoint_to_json
from ckpt.telling import one_line
from ckpt.writing import committing, disk, place, room, upkeep
from ckpt.writing.committing import Committed
from ckpt.writing.finding_room import write_with_room
from ckpt.writing.image import Image
from ckpt.writing.jobs import Failure, Job, Outcome, Staged
from ckpt.writing.layout import Layout, fixed
from ckpt.writing.sealing import Seal, Sealer

Tell = Callable[[str], None]


def perform(job: Job, image: Image, tell: Tell | None = None) -> Outcome:
    """Writes an image and makes it a checkpoint; every failure is in the outcome, with nothing listed or left behind.

    `tell` is told at once when the job begins to wait for room; without it the outcome tells. A wait ends with the
    process that trains, whose run is locked meanwhile. What an earlier attempt at this job had committed is
    not written again. An interrupt passes through; what was committed before it stays.
    """
    try:
        directory = place.directory_of(job)
        found = committing.earlier(directory, job.stem, job.marker)
        if found is not None:
            return _after_commit(job, found, Outcome(number=job.number))
        files.remove_left_behind(directory / f"{job.stem}{CHECKPOINT_SUFFIX}")
        write = functools.partial(_write_and_commit, job, image, directory)
        return write_with_room(job, directory, image.layout.size, write, _keeping(job), tell)
    except Exception as error:  # noqa: BLE001
        return Outcome(number=job.number, failure=_failure(job, error))


def commit_staged(job: Job, staged: Staged) -> Outcome:
    """Makes the file that a job with `commit=False` wrote a checkpoint; when that fails, the file is gone too."""
    try:
        return _commit(job, staged, Outcome(number=job.number))
    except Exception as error:  # noqa: BLE001
        return Outcome(number=job.number, failure=_failure(job, error))


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
            raise _not_as_it_should_be(stem, problems)
        _check_fixed(temporary, stem, image.layout)
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


def _check_fixed(path: Path, stem: str, layout: Layout) -> None:
    """Reads what readers of single tensors rely on, and `inspect` does not. Raises SaveError, OSError."""
    with open(path, "rb", buffering=0) as file:
        for offset, expected in fixed(layout):
            file.seek(offset)
            if file.read(len(expected)) != expected:
                raise _not_as_it_should_be(stem, f"the record at byte {offset:,} has another header")


def _not_as_it_should_be(stem: str, problems: str) -> SaveError:
    return SaveError(f"{printable(stem)} was not written as it should be: {problems}")


def _write_and_commit(job: Job, image: Image, directory: Path) -> Outcome:
    staged, seal, written = write_proven(directory, job.stem, image)
    outcome = Outcome(number=job.number, crcs=seal.crcs, written_s=written.seconds, direct=written.direct)
    return _commit(job, staged, outcome) if job.commit else outcome.evolve(staged=_entrusted(job, staged))


def _entrusted(job: Job, staged: Staged) -> Staged:
    """Gives a staged file a name of the training's, which nobody removes while that lives, though its writer ends."""
    if job.trainer == os.getpid():
        return staged
    written = Path(os.fsdecode(staged.path))
    path = files.temporary_name(written.with_name(f"{staged.stem}{CHECKPOINT_SUFFIX}"), job.trainer)
    try:
        os.rename(written, path)
    except BaseException:
        committing.discard(written)
        raise
    return staged.evolve(path=os.fsencode(path))  # type: ignore[no-any-return]


def _sealed(image: Image, sealer: Sealer) -> Iterator[memoryview]:
    for chunk in image.chunks():
        sealer.seal(chunk)
        yield chunk


def _commit(job: Job, staged: Staged, outcome: Outcome) -> Outcome:
    taken = frozenset(job.taken)
    try:
        taken |= upkeep.taken_names(_paths(job))
    except (OSError, CkptError) as error:
        told = f"the trash of run {_name(job)} cannot be read: {one_line(error)}"
        outcome = outcome.evolve(told=(*outcome.told, told))
    return _after_commit(job, committing.commit(staged, taken, job.marker), outcome)


def _after_commit(job: Job, committed: Committed, outcome: Outcome) -> Outcome:
    """Keeps the run in order; a failure of that is told, for the checkpoint is saved."""
    record, told = committed.record, outcome.told
    try:
        kept = _keeping(job).after_save()
        record = next((c for c in kept.view.checkpoints if c.path == record.path), record)
        told = (*told, *kept.told)
    except Exception as error:  # noqa: BLE001
        told = (*told, f"run {_name(job)} could not be looked at after a save: {one_line(error)}")
    return outcome.evolve(  # type: ignore[no-any-return]
        path=os.fsencode(committed.path), marker=committed.marker, record=checkpoint_to_json(record), told=told
    )


def _keeping(job: Job) -> upkeep.Upkeep:
    return _upkeep(job.run, str(job.marker.get("run")), job.marker.get("attempt"))


@functools.lru_cache(maxsize=8)
def _upkeep(run: bytes, run_id: str, attempt: int | None) -> upkeep.Upkeep:
    """One for each attempt at a run: it remembers what it looked at and what it told."""
    return upkeep.Upkeep(RunPaths(Path(os.fsdecode(run))))


def _paths(job: Job) -> RunPaths:
    return RunPaths(Path(os.fsdecode(job.run)))


def _name(job: Job) -> str:
    return printable(_paths(job).directory.name)


def _failure(job: Job, error: Exception) -> Failure:
    if isinstance(error, CkptError):
        return Failure(kind="failed", message=error.message, hint=error.hint)
    if isinstance(error, OSError) and not room.is_full(error):
        return place.failure(job, error)
    return Failure(
        kind="full" if room.is_full(error) else "failed",
        message=f"{printable(job.stem)} could not be saved: {one_line(error)}",
        hint=place.UNTOUCHED,
        errno=error.errno if isinstance(error, OSError) else None,
    )
