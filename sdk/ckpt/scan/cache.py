"""What was read of files that have not changed since."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from ckpt import formats
from ckpt.encoding import printable
from ckpt.formats import Inspection
from ckpt.records import Checkpoint
from ckpt.scan.failing import UNREADABLE

_MAX_PROBLEM = 400


@dataclass
class Cache:
    """What was read of files that have not changed since: inspections, without tensor lists, or finished records."""

    _known: dict[str, tuple[int, Inspection | Checkpoint]] = field(default_factory=dict)
    _config: dict[str, Any] = field(default_factory=dict)
    _resume: dict[str, Any] = field(default_factory=dict)
    _kinds: dict[str, int] = field(default_factory=dict)

    def inspect(self, path: str, info: os.stat_result, *members: Hashable) -> Inspection:
        """The inspection of a file, from memory when device, inode, size and times are the same.

        For a directory `members` stand for the names and identities of all files in it. Raises OSError when it cannot
        be read, or is a directory and no checkpoint. Where a reader fails in another way, the inspection has that as a
        problem, and its fingerprint is UNREADABLE.
        """
        key = hash((identity(info), *members))
        known = self._known.get(path)
        if known is not None and known[0] == key and isinstance(known[1], Inspection):
            return known[1]
        inspection: Inspection = _inspected(path)
        # Checkpoints of a run mostly have the same configuration, states and sizes: these are kept once.
        if not _is_same(inspection.config, self._config):
            self._config = inspection.config
        if not _is_same(inspection.resume, self._resume):
            self._resume = inspection.resume
        if inspection.kinds != self._kinds:
            self._kinds = inspection.kinds
        inspection = inspection.evolve(config=self._config, resume=self._resume, kinds=self._kinds)
        # Taken out first: the order of the entries is that in which they were read.
        self._known.pop(path, None)
        self._known[path] = (key, inspection)
        return inspection

    def recall(self, path: str, *origin: Hashable) -> Checkpoint | None:
        """The record that was made of a file and of whatever else `origin` stands for; None when that has changed."""
        known = self._known.get(path)
        if known is not None and known[0] == hash(origin) and isinstance(known[1], Checkpoint):
            return known[1]
        return None

    def remember(self, path: str, checkpoint: Checkpoint, *origin: Hashable) -> None:
        """Keeps a record instead of the inspection that it was made from."""
        self._known[path] = (hash(origin), checkpoint)

    def doubt(self, count: int) -> None:
        """Drops the `count` entries that were made longest ago, so that these files are opened again."""
        for path in list(itertools.islice(self._known, count)):
            del self._known[path]


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    # 1, 1.0 and True are equal, and not the same setting.
    return one == other and repr(one) == repr(other)


def _inspected(path: str) -> Inspection:
    try:
        inspection: Inspection = formats.inspect(path).evolve(tensors=(), storages={}, unknown_globals=(), files=())
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  one file that breaks a reader must not hide its whole run
        _log_failure(path)
        said = printable(f"its reader failed: {type(error).__name__} {error}"[:_MAX_PROBLEM].rstrip())
        inspection = Inspection(path=path, fingerprint=UNREADABLE, problems=(said,))
    return inspection


def _log_failure(path: str) -> None:
    import logging  # late: few programs ever need it here

    log = logging.getLogger("ckpt.scan")
    if not log.hasHandlers():
        log.addHandler(logging.NullHandler())  # where nobody listens, the problem is shown with the checkpoint
    log.warning("the reader of %s failed", printable(path), exc_info=True)


def identity(info: os.stat_result) -> tuple[int, int, int, int, int]:
    """What stays the same as long as a file's content does: device, inode, size, mtime and ctime in ns."""
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
