"""The face that every family of files has: recognise it, prove that it is whole, read what it says.

A family's class knows bytes and structure only. What the values mean is decided by `meaning`, the same for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from ckpt.formats import dtypes
from ckpt.formats.source import Damaged, Source
from ckpt.formats.values import Storage, Tensor

SAMPLE_BYTES = 256
SAMPLES = 16
_SCALAR_READS = 256


class NotACheckpoint(Damaged):
    """The file is sound or not, but nothing that any family knows."""


@dataclass(slots=True)
class Content:
    """What a file holds besides the bytes of its tensors.

    `top` is the tree of values, tensors in it as descriptions; `texts` are key-value texts that stand beside it.
    """

    top: Any
    fingerprint: str
    unknown_globals: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


class Family(Protocol):
    """One family of files, opened on one file. All methods may raise `source.Unreadable` and OSError."""

    format: ClassVar[str]
    framework: ClassVar[str]
    """Framework of a file of this family of which nothing more specific is known."""
    big_endian: bool

    def __init__(self, source: Source) -> None: ...

    @classmethod
    def recognise(cls, source: Source) -> bool:
        """Whether the file's first bytes are those of the family."""

    def prove(self) -> None:
        """Proves that the file is whole by its structure alone. Raises Unfinished or Damaged when it is not."""

    def read(self) -> Content:
        """The values of the file; `prove` comes first."""

    def stored_bytes(self, storage: Storage) -> int | None:
        """How many bytes of a storage lie in the file; None when it is not there."""

    def checksum(self, storage: Storage) -> int:
        """CRC-32 of a storage's bytes as the file states it; 0 when it states none."""

    def position(self, storage: Storage) -> int:
        """Where in the file a storage's bytes begin."""


class Scalars:
    """Numbers in the tree of values, those that are kept in tensors of one element included."""

    def __init__(self, source: Source, family: Family) -> None:
        self._source = source
        self._family = family
        self._left = _SCALAR_READS

    def number(self, value: Any) -> int | float | None:
        """The value as a number; None when it is none. Booleans are none."""
        kind = type(value)
        if kind is int or kind is float:
            return value  # type: ignore[no-any-return]
        if kind is Tensor:
            return self._element(value)
        return None

    def _element(self, tensor: Tensor) -> int | float | None:
        held = tensor.storage
        width = dtypes.ITEM_BYTES.get(tensor.dtype, 0)
        if held is None or tensor.shape not in ((), (1,)) or not 0 < width <= 8 or type(tensor.offset) is not int:
            return None
        stored = self._family.stored_bytes(held)
        start = tensor.offset * width
        if stored is None or start < 0 or start + width > stored or self._left <= 0:
            return None
        self._left -= 1
        raw = self._source.read(self._family.position(held) + start, width)
        found = dtypes.decode_items(raw, tensor.dtype, big_endian=self._family.big_endian)
        if not found or isinstance(found[0], bool | complex):
            return None
        return found[0]


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
