"""The run in a directory, whoever made it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ckpt.scan.cache import Cache
from ckpt.scan.finding import is_own
from ckpt.scan.foreign import read_foreign
from ckpt.scan.own import read_own
from ckpt.scan.signature import Sight
from ckpt.scan.view import RunView


def read_run(
    directory: Path,
    *,
    root: Path | None = None,
    cache: Cache | None = None,
    foreign_marks: Path | None = None,
    now: float | None = None,
    sight: Sight | None = None,
) -> RunView:
    """The run in a directory as it is now.

    `root` is the watched directory above it; `foreign_marks` the directory in which marks of foreign runs lie; `sight`
    what was seen of the run just before. Content that is damaged becomes a state or a problem of the records. Raises
    OSError when the directory itself cannot be read.
    """
    directory = Path(os.path.abspath(directory))
    cache = cache if cache is not None else Cache()
    now = time.time() if now is None else now
    listed = None if sight is None else sight.listing
    if listed is None:
        os.listdir(directory)
    if is_own(directory):
        return read_own(directory, root or directory.parent, cache, now)
    return read_foreign(directory, root or directory.parent, cache, foreign_marks, now, listed)
