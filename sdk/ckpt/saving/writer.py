"""A checkpoint file on disk, whole or not at all, and the marker that commits it.

Order: data under a temporary name, fsync; rename without replacing, fsync of the directory; the same for the marker.
A file without its marker is not a checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch
from blake3 import blake3

from ckpt import files, formats
from ckpt.encoding import printable
from ckpt.exceptions import SaveError, StateError
from ckpt.paths import CHECKPOINT_SUFFIX, MARKER_SUFFIX, POINTER_NAMES


@dataclass(frozen=True)
class Staged:
    """A finished file under its temporary name."""

    path: Path
    stem: str
    """What it is to be called, without suffix, if that is free."""
    bytes: int
    hash: str
    fingerprint: str
    inode: int


class _Hashing:
    """A stream that hashes what passes, and remembers why it failed: torch hides that behind errors of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.hasher = blake3()
        self.failure: BaseException | None = None

    def write(self, data: Any) -> int:
        try:
            self.hasher.update(data)
            return self._stream.write(data)
        except BaseException as error:
            self.failure = self.failure or error
            raise

    def flush(self) -> None:
        self._stream.flush()


def stage(directory: Path, stem: str, envelope: dict[str, Any]) -> Staged:
    """Writes the envelope under a temporary name in `directory`, durable.

    Raises SaveError, with nothing left behind.
    """
    temporary = files.temporary_name(directory / f"{stem}{CHECKPOINT_SUFFIX}")
    outer = sys.exception()
    hashing: _Hashing | None = None
    try:
        with open(temporary, "xb") as stream:
            hashing = _Hashing(stream)
            torch.save(envelope, cast("IO[bytes]", hashing))
            stream.flush()
            os.fsync(stream.fileno())
            info = os.fstat(stream.fileno())
        found = formats.inspect(temporary)
        if found.state != "complete":
            raise SaveError(f"{stem} was not written as it should be: {'; '.join(found.problems)}")
        return Staged(temporary, stem, info.st_size, hashing.hasher.hexdigest(), found.fingerprint, info.st_ino)
    except BaseException as error:
        discard(temporary)
        cause = _first_cause(error, None if hashing is None else hashing.failure, outer)
        told = _as_save_error(cause, stem)
        if told is error:
            raise
        raise told from (None if told is cause else cause)


def commit(staged: Staged, taken: Collection[str], marker_for: Callable[[Path], dict[str, Any]]) -> Path:
    """Gives a staged file its final name and writes the marker that `marker_for` makes for that path.

    Names that exist or are in `taken` get a suffix: `step-000010-2.pt`. Raises SaveError, with nothing listed and
    nothing left behind.
    """
    path = staged.path
    try:
        path = _publish(staged, taken)
        files.write_json(path.with_suffix(MARKER_SUFFIX), marker_for(path), overwrite=False)
        return path
    except BaseException as error:
        if path.with_suffix(MARKER_SUFFIX).exists() and path != staged.path:
            # Interrupted behind the point of no return: the checkpoint is whole and listed.
            raise
        for leftover in {staged.path, path, *_names(staged, taken)}:
            with contextlib.suppress(OSError):
                if leftover.lstat().st_ino == staged.inode:
                    discard(leftover)
        told = _as_save_error(error, staged.stem)
        if told is error:
            raise
        raise told from error


def discard(temporary: Path) -> None:
    """Removes a file of ours; a missing one is fine."""
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _names(staged: Staged, taken: Collection[str]) -> list[Path]:
    """The names that a staged file may get, up to the first that is free."""
    names: list[Path] = []
    number = 1
    while True:
        stem = staged.stem if number == 1 else f"{staged.stem}-{number}"
        path = staged.path.with_name(stem + CHECKPOINT_SUFFIX)
        number += 1
        if path.name in taken or path.name in POINTER_NAMES:
            continue
        names.append(path)
        if not os.path.lexists(path) and not os.path.lexists(path.with_suffix(MARKER_SUFFIX)):
            return names


def _publish(staged: Staged, taken: Collection[str]) -> Path:
    refused = set(taken)
    while True:
        path = _names(staged, refused)[-1]
        try:
            files.publish(staged.path, path, overwrite=False)
            return path
        except FileExistsError:
            refused.add(path.name)


def _first_cause(error: BaseException, failure: BaseException | None, outer: BaseException | None) -> BaseException:
    """What really went wrong: an error of the stream, or an interrupt that torch turned into its own error.

    `outer` is what was being handled before the save; it is not the save's own.
    """
    if failure is not None:
        return failure
    seen: BaseException | None = error
    while seen is not None and seen is not outer:
        if isinstance(seen, KeyboardInterrupt | SystemExit | OSError):
            return seen
        seen = seen.__context__
    return error


def _as_save_error(error: BaseException, stem: str) -> BaseException:
    if isinstance(error, SaveError | StateError) or not isinstance(error, Exception):
        return error
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error) or type(error).__name__
    return SaveError(f"{printable(stem)} could not be saved: {reason}", hint="earlier checkpoints are untouched")
