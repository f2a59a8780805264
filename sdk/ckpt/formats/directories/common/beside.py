"""Looks at files next to a checkpoint directory, within bounds: what its run says of it."""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

from ckpt.formats import bounded_json
from ckpt.formats.source import Source, Unreadable

_MAX_BYTES = 8 << 20
_MAX_ENTRIES = 10_000


def exists(directory: str, name: str) -> bool:
    """Whether something of that name stands next to a directory."""
    return os.path.lexists(_path(directory, name))


def directories(directory: str) -> list[str]:
    """Names of the directories next to a directory, without its own, of at most so many entries; [] if not listed."""
    try:
        with os.scandir(os.path.dirname(directory)) as listing:
            entries = islice(listing, _MAX_ENTRIES)
            found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [name for name in found if name != os.path.basename(directory)]


def tail(directory: str, name: str, limit: int = _MAX_BYTES) -> bytes:
    """The last bytes, at most `limit`, of a file next to a directory; b"" when it cannot be read."""
    try:
        with Source(_path(directory, name)) as source:
            length = min(source.size, limit)
            return source.read(source.size - length, length)
    except (OSError, Unreadable):
        return b""


def text(directory: str, name: str) -> str:
    """A short text next to a directory without the blanks around it; "" when it cannot be read."""
    return tail(directory, name, 4096).decode("utf-8", "replace").strip()


def value(raw: bytes) -> Any:
    """What some bytes say as JSON; None when they are none."""
    try:
        return bounded_json.parse(raw)
    except (ValueError, Unreadable):
        return None


def _path(directory: str, name: str) -> str:
    return os.path.join(os.path.dirname(directory), name)
