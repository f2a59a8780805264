"""How a directory is taken for a root: whether it can be one, and whether it is one that was known."""

from __future__ import annotations

import os

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckptd.roots.identity import Identity
from ckptd.roots.watched import Watched


def moved_into(watched: Watched, directory: str) -> bool:
    """Whether a root has left its place and lies in a directory now, under its own name."""
    known = watched.identity
    if known is None or watched.root.origin == "config.toml" or os.path.lexists(watched.root.path):
        return False
    try:
        return known.is_(Identity.of(os.path.join(directory, os.path.basename(watched.root.path)))) is True
    except OSError:
        return False


def is_same(former: Watched, added: Watched) -> bool:
    """Whether the directory that was confirmed is the one that stands there now, as far as that can be told."""
    if former.identity is None or added.identity is None:
        return False
    return former.identity.is_(added.identity) is not False


def check_directory(path: str) -> str:
    """The real path of a directory that can be a root. Raises UsageError where it is none, or cannot be read."""
    real = os.path.realpath(os.path.expanduser(path))
    shown = printable(path)
    if not os.path.exists(real):
        raise UsageError(f"{shown} does not exist", hint="make the directory first; an empty one is fine")
    if not os.path.isdir(real):
        raise UsageError(f"{shown} is a file, not a directory", hint="name the directory above it")
    try:
        with os.scandir(real) as entries:
            next(entries, None)
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}", hint="check its permissions") from error
    return real
