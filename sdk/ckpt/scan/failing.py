"""Errors that say nothing of what lies on a disk: who meets them knows no more than before."""

from __future__ import annotations

import errno

UNREADABLE = "unreadable"
"""Stands for the content of a file that cannot be read."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_FAILED = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO})


def is_exhausted(error: OSError) -> bool:
    """Whether this process or machine has no more of what it needs, whatever it was asked for."""
    return error.errno in _EXHAUSTED


def is_failing(error: OSError) -> bool:
    """Whether the disk or the system failed, rather than that the file is missing, of another kind or not ours."""
    return is_exhausted(error) or error.errno in _FAILED
