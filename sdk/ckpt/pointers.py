"""Pointers for plain tools: a fixed name beside the checkpoints that stands for one of them.

A relative symbolic link where the file system has them, else a hard link, else a copy. Readers of the name see the
old target or the new one, never nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ckpt import files


def swap(pointer: Path, target: Path) -> None:
    """Makes `pointer` stand for `target`, atomically; both lie on one file system. Raises OSError.

    What the name stood for before is not touched, except that a copy made by an earlier swap is replaced.
    """
    if not target.is_file():
        raise FileNotFoundError(2, "no such file to point at", str(target))
    if points_at(pointer, target):
        return
    temporary = files.temporary_name(pointer)
    try:
        _make(temporary, target, pointer.parent)
        os.replace(temporary, pointer)
    finally:
        # os.replace leaves the temporary name behind when both are hard links of one file.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    files.fsync_directory(pointer.parent)


def points_at(pointer: Path, target: Path) -> bool:
    """Whether the pointer already stands for that file, by link of either kind."""
    try:
        return os.path.samefile(pointer, target)
    except OSError:
        return False


def drop(pointer: Path) -> None:
    """Removes a pointer, never what it stands for; a missing one is fine. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(pointer)


def _make(name: Path, target: Path, base: Path) -> None:
    try:
        os.symlink(os.path.relpath(target, base), name)
        return
    except (OSError, NotImplementedError):
        pass
    try:
        os.link(target, name)
    except (OSError, NotImplementedError):
        files.copy_file(target, name)
