"""Whether anything changed that reading a run would see, told without opening a file."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ckpt.scan.failing import is_failing
from ckpt.scan.finding import is_own
from ckpt.scan.listing import Listing, listing

_NOT_READ = frozenset({"metrics.csv", "curves.png", "config.yaml", "early_stopping.jsonl"})
"""Files of own runs, written for people, that no record is read from."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A run as it looks from outside: its signature, and of a foreign one what was listed for it."""

    signature: str
    listing: Listing | None = None


def signature(directory: Path, marks: Path | None = None) -> str:
    """A text that changes with the files of a run and stays the same over restarts and reboots.

    `marks` is the file that holds the marks of a foreign run. Sizes, inodes and times stand for content: what keeps all
    of them cannot be seen. Raises OSError when the run's directory cannot be listed, or `checkpoints` of an own run,
    and where a disk or the system fails. That a directory in a foreign run may not be listed is part of the text.
    """
    return sight(directory, marks).signature


def sight(directory: Path, marks: Path | None = None) -> Sight:
    """The signature with what it was made from, so that `read_run` need not list it again. Raises as `signature`."""
    listed = None if is_own(directory) else listing(str(directory))
    lines = _own(directory) if listed is None else _foreign(listed)
    if marks is not None:
        try:
            said = marks.stat()
            lines.append(f"\0marks {said.st_ino} {said.st_size} {said.st_mtime_ns}")
        except FileNotFoundError:
            pass
    lines.sort()
    digest = hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16)
    return Sight(digest.hexdigest(), listed)


def _own(directory: Path) -> list[str]:
    lines: list[str] = []
    for place, prefix in ((directory, ""), (directory / "checkpoints", "/checkpoints")):
        try:
            with os.scandir(place) as listed:
                entries = list(listed)
        except (FileNotFoundError, NotADirectoryError):
            if prefix:
                continue
            raise
        for entry in entries:
            if entry.name in _NOT_READ:
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                lines.append(f"{prefix}/{entry.name}\0gone")
                continue
            lines.append(f"{prefix}/{entry.name}\0{_sign(info)}")
    return lines


def _foreign(listed: Listing) -> list[str]:
    """Raises OSError where a disk or the system failed."""
    for _, error in listed.failed:
        if is_failing(error):
            raise error
    lines = [f"/{name}\0{error.errno}" for name, error in listed.failed]
    lines += [f"/{file.name}\0{_sign(file.info)}" for file in (*listed.files, *listed.pointers)]
    lines += [f"/{link.name}\0{'gone' if link.info is None else _sign(link.info)}" for link in listed.links]
    for directory in listed.directories:
        lines.append(f"/{directory.name}\0{_sign(directory.info)}")
        lines += [f"/{directory.name}\0{file.name}\0{_sign(file.info)}" for file in directory.beside]
        lines += [f"/{directory.name}/{member.name}\0{_sign(member.info)}" for member in directory.members]
    return lines


def _sign(info: os.stat_result) -> str:
    told = f"{info.st_ino} {info.st_mtime_ns}"
    if not stat.S_ISDIR(info.st_mode):
        told += f" {info.st_ctime_ns} {info.st_size} {info.st_nlink}"
    return told
