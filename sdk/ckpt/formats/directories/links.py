"""What the entries of a checkpoint directory stand for: a link stands for what it leads to."""

from __future__ import annotations

import errno
import os

_LEADS_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})


def reached(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The stat of a file, or of what a link leads to; None where it is gone or cannot be reached.

    Raises OSError where the system fails.
    """
    try:
        return entry.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError) or (entry.is_symlink() and error.errno in _LEADS_NOWHERE):
            return None
        raise
