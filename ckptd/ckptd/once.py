"""One look without a daemon: in memory, without a lock, writing nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ckpt.exceptions import UsageError
from ckpt.paths import StatePaths, config_home
from ckptd import parts
from ckptd.config import file as config_file
from ckptd.process import lifecycle
from ckptd.serving.service import Service


def look(directories: Sequence[str]) -> Service:
    """A service over what lies in the directories now; over all watched ones and announced runs when none is given.

    Only its reads are meant. Raises UsageError for a directory that cannot be looked at.
    """
    here = parts.reading(StatePaths.here(), stored_roots=not directories)
    if directories:
        # A mistake in the file does not keep anybody from looking at a directory.
        here.policies.config = config_file.read(config_home(), os.environ).config
        for directory in directories:
            watched, _ = here.roots.add(directory, None, (), keep=False)
            here.scanner.look(watched)
            if watched.problem is not None:
                raise UsageError(f"{directory}: {watched.problem}")
    else:
        here.configure(config_file.load(config_home()))
        here.scanner.full()
    return here.service(_describe)


def _describe() -> dict[str, Any]:
    return {"pid": None, "version": lifecycle.version(), "uptime_s": None}
