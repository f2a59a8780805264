"""What the next checkpoint of a run is called: a name that nothing has, and that nothing will come back to."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, POINTER_NAMES
from ckpt.runs import Run
from ckpt.writing.upkeep import taken_names

log = logging.getLogger("ckpt.saving")


class Names:
    """The file names of one run's checkpoints, as one process gives them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen: set[str] | None = None
        """Names that a file in the trash may have: those there were at first, and those given since."""

    def free(self, stem: str, on_the_way: Collection[str]) -> tuple[Path, tuple[str, ...]]:
        """The first of `step-000010.pt`, `step-000010-2.pt` … that is free, and those before it.

        They are on disk, in the trash, or `on_the_way` there.
        """
        directory = self._run.paths.checkpoints
        earlier: list[str] = []
        number = 1
        while True:
            path = directory / f"{stem if number == 1 else f'{stem}-{number}'}{CHECKPOINT_SUFFIX}"
            number += 1
            if not self._is_taken(path, on_the_way):
                self._all_seen.add(path.name)
                return path, tuple(earlier)
            earlier.append(path.name)

    def _is_taken(self, path: Path, on_the_way: Collection[str]) -> bool:
        return (
            path.name in on_the_way
            or path.name in POINTER_NAMES
            or os.path.lexists(path)
            or os.path.lexists(path.with_suffix(MARKER_SUFFIX))
            # The trash may be large, and the training waits: it is read only for a name that was there once.
            or (path.name in self._all_seen and path.name in self._trashed())
        )

    @property
    def _all_seen(self) -> set[str]:
        if self._seen is None:
            try:
                there = os.listdir(self._run.paths.checkpoints)
            except OSError:
                there = []  # the write will say why
            self._seen = {*there, *self._trashed()}
        return self._seen

    def _trashed(self) -> frozenset[str]:
        try:
            return taken_names(self._run.paths)
        except (OSError, CkptError) as error:
            log.warning("the trash of run %s cannot be read: %s", printable(self._run.name), error)
            return frozenset()
