"""What is asked of a writer, and what came of it: records that travel between processes."""

from __future__ import annotations

import os
from typing import Any, Literal

import msgspec

from ckpt.records import Record


class Job(Record, frozen=True, kw_only=True):
    """One file to be written. Its bytes are an image beside the job."""

    number: int
    """Counts the jobs of one training process, from 1."""
    run: bytes
    """The run's directory, as the file system spells it."""
    stem: str
    """What the file is to be called, without suffix; a taken name gets a suffix such as `-2`."""
    taken: tuple[str, ...] = ()
    """File names that are in use although nothing of that name lies there, such as what waits in the trash."""
    marker: dict[str, Any] = msgspec.field(default_factory=dict)
    """The commit marker as far as it is known before the write."""
    commit: bool = True
    """False: the file keeps its temporary name, and is listed later."""
    when_full: Literal["raise", "wait", "skip"] = "raise"
    full_wait_s: float = 3600.0
    """How long `wait` waits for room."""
    trainer: int = msgspec.field(default_factory=os.getpid)
    """The process that trains: who waits for the outcome, and to whom a staged file belongs."""


class Failure(Record, frozen=True, kw_only=True):
    """Why a job came to nothing. Earlier checkpoints are untouched, and nothing of this one is listed."""

    kind: Literal["failed", "full", "skipped", "died"]
    """`full`: no room, by forecast or by ENOSPC; `skipped`: no room, and that was to be skipped; `died`: the writer."""
    message: str
    hint: str | None = None
    errno: int | None = None


class Staged(Record, frozen=True, kw_only=True):
    """A finished file under its temporary name."""

    path: bytes
    stem: str
    size: int
    """Bytes of the file."""
    hash: str
    """BLAKE3 of the file, hexadecimal."""
    fingerprint: str
    inode: int


class Outcome(Record, frozen=True, kw_only=True):
    """What came of a job: a checkpoint, a staged file, or a failure."""

    number: int
    path: bytes | None = None
    """The committed file."""
    marker: dict[str, Any] | None = None
    """The whole commit marker."""
    record: dict[str, Any] | None = None
    """The checkpoint with its tags, as `protocol.checkpoint_to_json` has it."""
    staged: Staged | None = None
    failure: Failure | None = None
    told: tuple[str, ...] = ()
    """What the training is to be warned of: retention that waits, trash that could not be purged."""
    crcs: tuple[int, ...] = ()
    """CRC32 of each member of the layout."""
    written_s: float = 0.0
    """Seconds from the first byte to the last fsync of the data."""
    direct: bool = False
    """Whether the bytes went past the page cache."""
