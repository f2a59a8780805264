"""Proves a checkpoint by reading all of it: every checksum that its files state, and that every byte can be read."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import FormatError
from ckpt.formats.checksums import Range, stated
from ckpt.formats.directories.folder import Member, members
from ckpt.formats.inner_files import inner_files
from ckpt.formats.reading import inspect
from ckpt.formats.record import Inspection
from ckpt.formats.source import Source, TooLarge, Unreadable
from ckpt.formats.suffixes import may_be_file
from ckpt.paths import MARKER_SUFFIX
from ckpt.records import CheckpointState, Record

if TYPE_CHECKING:
    from blake3 import blake3

PIECE_BYTES = 1 << 20
_MAX_PROBLEMS = 100
_BLAKE3 = "blake3:"

Progress = Callable[[int], None]
"""Told of bytes as they are read."""


class Verification(Record, frozen=True, kw_only=True):
    """What reading all of a checkpoint proved."""

    path: str
    framework: str
    format: str
    state: CheckpointState
    """What `inspect` says; "writing" where the files changed while they were read."""
    problems: tuple[str, ...] = ()
    """What is damaged or missing; () where everything agrees with what is stated."""
    checksums: int = 0
    """How many stated checksums were compared."""
    bytes_compared: int = 0
    """How much lies under those checksums. Of the rest only the structure is proved, and that it can be read."""
    bytes_read: int = 0

    @property
    def damaged(self) -> bool:
        """Whether something in it is not what was written."""
        return bool(self.problems) and self.state != "writing"


def verify(path: Path | str, *, progress: Progress | None = None) -> Verification:
    """Reads a whole checkpoint, a file or a directory, and compares every checksum that it states.

    Torch files and other zips: the CRC-32 of every entry. Checkpoints of own runs: also the BLAKE3 in their commit
    marker. Directories: every file by its own family, and in the files of torch distributed checkpoints every slice.
    What `inspect` finds incomplete or corrupt is not read further. Memory stays at one piece of 1 MB. Raises OSError
    where `inspect` does, and where a file may not be opened; FormatError for a directory with more files than are read.
    """
    found = inspect(path)
    if found.state != "complete":
        return _result(found, problems=found.problems or (f"it is {found.state}",))
    proof = _Proof(progress)
    try:
        before = _listed(found)
        slices = inner_files(found.path) if found.files else {}
        for member in before:
            name = member.name if found.files else ""
            proof.file(member.path, name, marked=_marked(member.path), slices=slices.get(name, ()))
        changed = _looks(before) != _looks(_listed(found))
    except TooLarge as error:
        raise FormatError(f"{printable(found.path)} cannot be checked: {error.problem}") from None
    return _result(found.evolve(state="writing") if changed else found, proof.problems, proof)


def _result(found: Inspection, problems: Iterable[str], proof: _Proof | None = None) -> Verification:
    return Verification(
        path=found.path,
        framework=found.framework,
        format=found.format,
        state=found.state,
        problems=tuple(problems),
        checksums=proof.checksums if proof else 0,
        bytes_compared=proof.bytes_compared if proof else 0,
        bytes_read=proof.bytes_read if proof else 0,
    )


def _listed(found: Inspection) -> list[Member]:
    """The files of a checkpoint, each inode once."""
    if not os.path.isdir(found.path):
        return [Member(os.path.basename(found.path), found.path, os.stat(found.path))]
    held = {(member.info.st_dev, member.info.st_ino): member for member in members(found.path)}
    return sorted(held.values(), key=lambda member: member.name)


def _looks(listed: Iterable[Member]) -> list[tuple[str, int, int, int]]:
    return [(m.name, m.info.st_ino, m.info.st_size, m.info.st_mtime_ns) for m in listed]


def _marked(path: str) -> str | None:
    """The BLAKE3 of a file in the commit marker beside it; None when it has none."""
    stem, suffix = os.path.splitext(path)
    if not suffix or suffix == MARKER_SUFFIX:
        return None
    try:
        marker = files.read_json(Path(stem + MARKER_SUFFIX))
    except (OSError, ValueError):
        return None
    if not isinstance(marker, dict) or marker.get("file") != os.path.basename(path):
        return None
    told = marker.get("hash")
    return told.removeprefix(_BLAKE3) if isinstance(told, str) and told.startswith(_BLAKE3) else None


class _Proof:
    """What was read and compared so far."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.problems: list[str] = []
        self.checksums = 0
        self.bytes_compared = 0
        self.bytes_read = 0

    def file(self, path: str, name: str, *, marked: str | None, slices: Sequence[tuple[int, int]]) -> None:
        """Reads a file; `name` leads its problems, "" where the checkpoint is this one file."""
        with Source(path) as source:
            ranges = self._stated(source, name, slices)
            hasher = _hasher() if marked is not None else None
            if not self._read(source, name, ranges, hasher):
                return
            self.checksums += len(ranges) + (hasher is not None)
            self.bytes_compared += source.size if hasher is not None else sum(part.length for part in ranges)
            if hasher is not None and hasher.hexdigest() != marked:
                self._problem(name, "its BLAKE3 is not the one in its commit marker")

    def _stated(self, source: Source, name: str, slices: Sequence[tuple[int, int]]) -> Sequence[Range]:
        try:
            return stated(source, slices)
        except TooLarge:
            return ()
        except Unreadable as error:
            # Of what lies beside a checkpoint's own files nobody knows what it should be.
            if not name or slices or may_be_file(os.path.basename(name)):
                self._problem(name, error.problem)
            return ()

    def _read(self, source: Source, name: str, ranges: Sequence[Range], hasher: blake3 | None) -> bool:
        """Reads all of it in order; False where it cannot be read to its end."""
        waiting = iter(ranges)
        part = next(waiting, None)
        crc = 0
        for start in range(0, source.size, PIECE_BYTES):
            try:
                piece = memoryview(source.read(start, min(PIECE_BYTES, source.size - start)))
            except Unreadable as error:
                self._problem(name, error.problem)
                return False
            except OSError as error:
                self._problem(name, f"it cannot be read behind byte {start}: {error.strerror}")
                return False
            self.bytes_read += len(piece)
            if self._progress is not None:
                self._progress(len(piece))
            if hasher is not None:
                hasher.update(piece)
            while part is not None and part.start < start + len(piece):
                crc = zlib.crc32(piece[max(0, part.start - start) : part.start + part.length - start], crc)
                if part.start + part.length > start + len(piece):
                    break
                if crc != part.crc:
                    self._problem(name, f"{part.name} does not have the content that was written")
                part, crc = next(waiting, None), 0
        return True

    def _problem(self, name: str, text: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(printable(f"{name}: {text}" if name else text))


def _hasher() -> blake3:
    from blake3 import blake3

    return blake3()
