"""The face that every family of files has: recognise it, prove that it is whole, read what it says.

A family's class knows bytes and structure only. What the values mean is decided by `meanings`, the same for all.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpt.formats.pickled.values import Storage
from ckpt.formats.source import Damaged, Source

SAMPLE_BYTES = 256
SAMPLES = 16


class NotACheckpoint(Damaged):
    """The file may be sound, but is nothing that any family knows. Damage only where it has to be a checkpoint."""

    state = "complete"


@dataclass(slots=True)
class Content:
    """What a file holds besides the bytes of its tensors.

    `top` is the tree of values, tensors in it as descriptions; `texts` are key-value texts that stand beside it;
    `omitted` names what is there and was not read.
    """

    top: Any
    fingerprint: str
    unknown_globals: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    omitted: Sequence[str] = ()


class Family(ABC):
    """One family of files, opened on one file. All methods may raise `source.Unreadable` and OSError."""

    format: ClassVar[str]
    framework: ClassVar[str]
    """Framework of a file of this family of which nothing more specific is known."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.big_endian = False

    @classmethod
    @abstractmethod
    def recognise(cls, source: Source) -> bool:
        """Whether the file's first bytes are those of the family."""

    @abstractmethod
    def prove(self) -> None:
        """Proves that the file is whole by its structure alone. Raises Unfinished or Damaged when it is not."""

    @abstractmethod
    def read(self) -> Content:
        """The values of the file; `prove` comes first."""

    def stored_bytes(self, storage: Storage) -> int | None:
        """How many bytes of a storage lie in the file; None when it is not there."""
        return None

    def checksum(self, storage: Storage) -> int:
        """CRC-32 of a storage's bytes as the file states it; 0 when it states none."""
        return 0

    def position(self, storage: Storage) -> int:
        """Where in the file a storage's bytes begin."""
        raise Damaged(f"a file of the kind {self.format} holds no storages")

    def bytes_of(self, storage: Storage, start: int, length: int) -> bytes:
        """`length` bytes of a storage from its byte `start` on."""
        return self.source.read(self.position(storage) + start, length)


def digest(parts: Iterable[bytes]) -> str:
    """40 hexadecimal digits over some bytes, their lengths included."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()[:40]


def samples(source: Source, places: Sequence[tuple[int, int]]) -> list[bytes]:
    """A few pieces spread evenly over some parts of the file, each an offset and a length.

    They tell content that was rewritten from the former where the file itself states nothing about it.
    """
    chosen = places[:: max(1, len(places) // SAMPLES)][:SAMPLES]
    count = SAMPLES // max(1, len(chosen))
    pieces: list[bytes] = []
    for start, room in chosen:
        if room <= count * SAMPLE_BYTES:
            pieces.append(source.read(start, room))
            continue
        step = (room - SAMPLE_BYTES) // max(1, count - 1)
        first = start if count > 1 else start + step // 2
        pieces += [source.read(first + index * step, SAMPLE_BYTES) for index in range(count)]
    return pieces
