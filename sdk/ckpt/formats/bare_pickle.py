"""Plain pickles that no known framework wrote: their values are shown, their meaning is not known."""

from __future__ import annotations

from typing import Any, ClassVar

from ckpt.formats.family import Content, digest
from ckpt.formats.source import Damaged, Source
from ckpt.formats.torch_legacy import PickleStream
from ckpt.formats.values import Storage


class BarePickle:
    """One pickle and nothing else."""

    format: ClassVar[str] = "pickle"
    framework: ClassVar[str] = "unknown"

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stream = PickleStream(source)
        self._top: Any = None
        self.big_endian = False

    @classmethod
    def recognise(cls, source: Source) -> bool:
        head = source.head(2)
        return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5

    def prove(self) -> None:
        self._top = self._stream.next()
        if self._stream.position != self._source.size:
            raise Damaged("there are bytes behind its pickle")

    def read(self) -> Content:
        return Content(self._top, f"pickle:{digest([self._stream.consumed])}", tuple(sorted(self._stream.unknown)))

    def stored_bytes(self, storage: Storage) -> int | None:
        return None

    def checksum(self, storage: Storage) -> int:
        return 0

    def position(self, storage: Storage) -> int:
        raise Damaged("a plain pickle holds no storages")
