"""What is free again when several checkpoints are gone together: two names of one file free it only as a pair."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ckpt.records import Checkpoint
from ckpt.retention import Plan
from ckpt.retention.budget import freed
from ckpt.scan.usage import Files


class Freeing:
    """Bytes that go with some checkpoints. The files of one that shares some are looked at, once it is added."""

    def __init__(self) -> None:
        self._alone = 0
        self._sharing = Files()

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Freeing:
        """Those of one checkpoint, which must be where it was found."""
        found = cls()
        found.add(checkpoint)
        return found

    def add(self, checkpoint: Checkpoint) -> None:
        """Adds a checkpoint. What is gone meanwhile frees nothing."""
        if freed(checkpoint) >= checkpoint.bytes:
            self._alone += checkpoint.bytes
            return
        for name in _names(checkpoint):
            with contextlib.suppress(OSError):
                info = os.lstat(name)
                if stat.S_ISREG(info.st_mode):
                    self._sharing.add(info)

    def join(self, other: Freeing) -> None:
        """Adds all checkpoints of another."""
        self._alone += other._alone
        self._sharing.join(other._sharing)

    @property
    def bytes(self) -> int:
        """What is free again when all of them are gone."""
        return self._alone + self._sharing.unique_bytes


def measured(plan: Plan) -> Plan:
    """A plan with `freed_at_purge` as the files say that lie there now."""
    freeing = Freeing()
    for run in plan.runs:
        for decision in run.remove:
            freeing.add(decision.checkpoint)
    found: Plan = plan.evolve(freed_at_purge=freeing.bytes)
    return found


def _names(checkpoint: Checkpoint) -> Iterator[str]:
    for path in checkpoint.files or (checkpoint.path,):
        if os.path.isdir(path) and not os.path.islink(path):
            for folder, _, names in os.walk(path):
                yield from (os.path.join(folder, name) for name in names)
        else:
            yield path
