"""A finished file's name, and the marker that makes it a checkpoint.

Order: the file is durable under its temporary name; rename without replacing, fsync of the directory; the same for the
marker. A file without its marker is not a checkpoint.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, POINTER_NAMES
from ckpt.records import Checkpoint, checkpoint_id
from ckpt.writing.jobs import Staged

_OF_ONE_SAVE = ("run", "seq", "attempt", "saved_at")
"""What no two saves have in common."""


@dataclass(frozen=True)
class Committed:
    """A checkpoint that is listed."""

    path: Path
    marker: dict[str, Any]

    @property
    def record(self) -> Checkpoint:
        """The checkpoint as its marker tells it."""
        marker = self.marker
        return Checkpoint(
            id=marker["id"],
            run=marker["run"],
            path=str(self.path),
            framework="ckpt",
            seq=marker.get("seq"),
            attempt=marker.get("attempt"),
            step=marker.get("step"),
            epoch=marker.get("epoch"),
            bytes=marker["bytes"],
            saved_at=marker.get("saved_at", 0.0),
            label=marker.get("label"),
            fingerprint=marker["fingerprint"],
            files=(str(self.path), str(self.path.with_suffix(MARKER_SUFFIX))),
        )


def commit(staged: Staged, taken: Collection[str], marker: Mapping[str, Any]) -> Committed:
    """Gives a staged file its final name and writes its marker: `marker` and what the name and the file decide.

    Names that exist or are in `taken` get a suffix: `step-000010-2.pt`. Raises OSError, with nothing listed and nothing
    left behind. An interrupt behind the last step leaves the checkpoint listed.
    """
    path: Path | None = None
    try:
        path = _publish(staged, taken)
        whole = _whole_marker(staged, path, marker)
        files.write_json(path.with_suffix(MARKER_SUFFIX), whole, overwrite=False)
        return Committed(path, whole)
    except BaseException as error:
        _take_back(staged, taken, path, error)
        raise


def earlier(directory: Path, stem: str, marker: Mapping[str, Any]) -> Committed | None:
    """What another writer, which died, had committed of the save that has this marker. Raises OSError."""
    said = [marker.get(name) for name in _OF_ONE_SAVE]
    if None in said:
        return None
    for path in family(directory, stem):
        written = path.with_suffix(MARKER_SUFFIX)
        try:
            found = files.read_json(written)
        except FileNotFoundError:
            if os.path.lexists(path):
                continue
            return None
        except ValueError:
            continue
        except OSError:
            if written.is_file():
                raise
            continue  # such as a pipe: somebody else's, and in the way
        if isinstance(found, dict) and [found.get(name) for name in _OF_ONE_SAVE] == said and path.is_file():
            files.fsync_directory(directory)
            return Committed(path, found)
    return None


def discard(temporary: Path) -> None:
    """Removes a file of ours; a missing one is fine."""
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _whole_marker(staged: Staged, path: Path, marker: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": 1,
        "id": checkpoint_id(str(marker.get("run", "")), path.name, staged.fingerprint),
        "file": path.name,
        **marker,
        "bytes": staged.size,
        "hash": f"blake3:{staged.hash}",
        "fingerprint": staged.fingerprint,
    }


def family(directory: Path, stem: str) -> Iterator[Path]:
    """The files that a save of this stem may become: `step-000010.pt`, `step-000010-2.pt` …; they have no end."""
    number = 1
    while True:
        path = directory / f"{stem if number == 1 else f'{stem}-{number}'}{CHECKPOINT_SUFFIX}"
        number += 1
        if path.name not in POINTER_NAMES:
            yield path


def is_taken(path: Path) -> bool:
    """Whether a checkpoint of that name is there, or a part of one."""
    return os.path.lexists(path) or os.path.lexists(path.with_suffix(MARKER_SUFFIX))


def _names(staged: Staged, taken: Collection[str]) -> list[Path]:
    """The names that a staged file may get, up to the first that is free."""
    names: list[Path] = []
    for path in family(Path(os.fsdecode(staged.path)).parent, staged.stem):
        if path.name in taken:
            continue
        names.append(path)
        if not is_taken(path):
            break
    return names


def _publish(staged: Staged, taken: Collection[str]) -> Path:
    temporary = Path(os.fsdecode(staged.path))
    refused = set(taken)
    while True:
        *occupied, free = _names(staged, refused)
        for path in occupied:
            if _is_left_over(path, staged):
                files.publish(temporary, path, overwrite=True)
                return path
        try:
            files.publish(temporary, free, overwrite=False)
            return free
        except FileExistsError:
            refused.add(free.name)


def _is_left_over(path: Path, staged: Staged) -> bool:
    """Whether a writer that died before the marker has left the very same bytes there."""
    if os.path.lexists(path.with_suffix(MARKER_SUFFIX)) or path.is_symlink():
        return False
    try:
        return path.stat().st_size == staged.size and files.hash_file(path) == staged.hash
    except OSError:
        return False


def _take_back(staged: Staged, taken: Collection[str], path: Path | None, error: BaseException) -> None:
    if path is not None and os.path.lexists(path.with_suffix(MARKER_SUFFIX)):
        if not isinstance(error, Exception):
            return
        if not isinstance(error, FileExistsError):
            discard(path.with_suffix(MARKER_SUFFIX))
    temporary = Path(os.fsdecode(staged.path))
    for leftover in {temporary, *_names(staged, taken)}:
        with contextlib.suppress(OSError):
            if leftover.lstat().st_ino == staged.inode:
                discard(leftover)
