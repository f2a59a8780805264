"""Whether anything changed that reading a run would see, told without opening a file."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from ckpt.scan.finding import checkpoint_parts, is_own, may_be_checkpoint

_NOT_READ = frozenset({"metrics.csv", "curves.png", "config.yaml", "early_stopping.jsonl"})
"""Files of own runs, written for people, that no record is read from."""


def signature(directory: Path, marks: Path | None = None) -> str:
    """A text that changes with the files of a run and stays the same over restarts and reboots.

    `marks` is the file that holds the marks of a foreign run. Sizes, inodes and times stand for content: what keeps all
    of them cannot be seen. Raises OSError when a directory of the run cannot be listed.
    """
    own = is_own(directory)
    base = str(directory)
    lines: list[str] = []
    for place in [base, *(str(part) for part in checkpoint_parts(directory))]:
        prefix = place[len(base) :]
        with os.scandir(place) as listing:
            for entry in listing:
                name = entry.name
                if name in _NOT_READ if own else not may_be_checkpoint(name):
                    continue
                followed = not own and entry.is_symlink()
                try:
                    info = entry.stat(follow_symlinks=followed)
                except FileNotFoundError:
                    lines.append(f"{prefix}/{name}\0gone")
                    continue
                except OSError as error:
                    # A link in a circle, or into a directory that may not be entered, says nothing of the run itself.
                    if not followed:
                        raise
                    lines.append(f"{prefix}/{name}\0{error.errno}")
                    continue
                told = f"{info.st_ino} {info.st_mtime_ns}"
                if not stat.S_ISDIR(info.st_mode):
                    told += f" {info.st_ctime_ns} {info.st_size} {info.st_nlink}"
                lines.append(f"{prefix}/{name}\0{told}")
    if marks is not None:
        try:
            said = marks.stat()
            lines.append(f"\0marks {said.st_ino} {said.st_size} {said.st_mtime_ns}")
        except FileNotFoundError:
            pass
    lines.sort()
    digest = hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16)
    return digest.hexdigest()
