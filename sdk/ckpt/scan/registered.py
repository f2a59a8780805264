"""The watched directory that a path lies in, by the file in which the daemon of this machine keeps them.

The id of a foreign run is made of its place below one, so it is the daemon's own only when it is read from there.
"""

from __future__ import annotations

import os
from pathlib import Path

from ckpt import files
from ckpt.encoding import path_from_fields
from ckpt.exceptions import CkptError
from ckpt.paths import StatePaths, is_inside

_MOST_BYTES = 4 << 20


def registered_root(directory: Path) -> Path | None:
    """The innermost watched directory at or above another; None when there is none, or no daemon ever ran here."""
    try:
        told = files.read_json(StatePaths.here().roots, limit=_MOST_BYTES)
        roots = {path_from_fields(entry) for name in ("roots", "seen") for entry in told[name]}
    except (OSError, CkptError, ValueError, KeyError, TypeError, AttributeError):
        return None
    place = os.path.abspath(directory)
    above = [root for root in roots if is_inside(place, root)]
    return Path(max(above, key=len)) if above else None
