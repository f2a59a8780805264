"""A write on a disk that may be full: tried where there seems to be room, and what the job says where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ckpt import files
from ckpt.writing import room
from ckpt.writing.jobs import Job, Outcome
from ckpt.writing.patience import Wait, patience
from ckpt.writing.upkeep import Upkeep

_POLL_S = 1.0
"""How often a job that waits looks for room."""
_MOST_S = 30.0
"""The longest pause where a disk seems to have room and has none."""

Tell = Callable[[str], None]


def write_with_room(
    job: Job, directory: Path, size: int, write: Callable[[], Outcome], keeping: Upkeep, tell: Tell | None
) -> Outcome:
    """What came of a write of `size` bytes, or why there was no room for it.

    The run's own trash goes first, as far as it is needed; then the job fails, is skipped, or waits. `tell` is told at
    once that it waits; without it the outcome tells. Raises what the write raises for other reasons.
    """
    told: list[str] = []
    pause, waits, purged = _POLL_S, False, 0
    with patience.waiting(job.number, job.full_wait_s if job.when_full == "wait" else 0.0) as wait:
        while True:
            expected, error = room.forecast(directory, size), None
            if expected.fits:
                try:
                    done = write()
                except OSError as failed:
                    if not room.is_full(failed):
                        raise
                    expected, error = room.forecast(directory, size), failed
                else:
                    if not purged:
                        keeping.had_room()
                    return done.evolve(told=(*told, *done.told))  # type: ignore[no-any-return]
            made = keeping.make_room(expected.missing)
            told += [problem for problem in made.told if problem not in told]
            purged += made.purged
            if made.purged:
                continue
            if not waits and job.when_full == "wait":
                waits = True
                (told.append if tell is None else tell)(room.waits(job, directory, expected))
            if not _pause(wait, job, pause):
                failure = room.no_room(job, directory, expected, error, wait.cut)
                return Outcome(number=job.number, failure=failure, told=tuple(told))
            pause = _POLL_S if error is None else min(2 * pause, _MOST_S)


def _pause(wait: Wait, job: Job, seconds: float) -> bool:
    """Waits so long; False when there is nothing to wait for any more, as when the training is gone."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if not files.pid_alive(job.trainer) or not wait.pause(min(left, _POLL_S)):
            return False
    return True
