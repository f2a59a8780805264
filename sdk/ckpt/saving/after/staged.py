"""Checkpoints that are written and wait for `commit()`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ckpt.protocol import checkpoint_from_json
from ckpt.saving.handle import SavedCheckpoint
from ckpt.telling import tell
from ckpt.writing import committing
from ckpt.writing.jobs import Job, Staged
from ckpt.writing.performing import commit_staged

log = logging.getLogger("ckpt.saving")


class _Waiting(NamedTuple):
    handle: SavedCheckpoint
    job: Job
    staged: Staged
    seq: int


class StagedSaves:
    """The staged checkpoints of one manager, oldest first."""

    def __init__(self, take_back: Callable[[int], None]) -> None:
        """`take_back` is called with the number of a save that came to nothing."""
        self._take_back = take_back
        self._waiting: list[_Waiting] = []

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._waiting)

    def add(self, handle: SavedCheckpoint, job: Job, staged: Staged, seq: int) -> None:
        """Takes one that was just written."""
        self._waiting.append(_Waiting(handle, job, staged, seq))

    def commit(self) -> list[SavedCheckpoint]:
        """Lists them all and returns their handles. Raises SaveError when one cannot be listed; those before it are."""
        done: list[SavedCheckpoint] = []
        while self._waiting:
            handle, job, staged, seq = self._waiting.pop(0)
            outcome = commit_staged(job.evolve(taken=()), staged)
            for problem in outcome.told:
                tell(problem, log)
            if outcome.failure is not None or outcome.record is None:
                self._take_back(seq)
                failure = outcome.failure
                handle.came_to_nothing("failed", failure.message if failure else "", failure.hint if failure else None)
                handle.raised = True
                raise handle.error()
            handle.saved(checkpoint_from_json(outcome.record))
            done.append(handle)
        return done

    def discard(self) -> int:
        """Drops them and returns how many there were."""
        count = self.count
        for waiting in self._waiting:
            committing.discard(Path(os.fsdecode(waiting.staged.path)))
            waiting.handle.came_to_nothing("skipped", f"{waiting.staged.stem} was discarded")
            self._take_back(waiting.seq)
        self._waiting.clear()
        return count
