"""What the next checkpoint of a run is called: a name that nothing has, and that nothing will come back to."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt.runs import Run
from ckpt.writing import committing
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
        earlier: list[str] = []
        family = committing.family(self._run.paths.checkpoints, stem)
        path = next(family)
        while self._is_taken(path, on_the_way):
            earlier.append(path.name)
            path = next(family)
        self._all_seen.add(path.name)
        return path, tuple(earlier)

    def _is_taken(self, path: Path, on_the_way: Collection[str]) -> bool:
        return (
            path.name in on_the_way
            or committing.is_taken(path)
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
