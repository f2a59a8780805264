"""Plain pickles that no known framework wrote: their values are shown, their meaning is not known."""

from __future__ import annotations

from typing import Any, ClassVar

from ckpt.formats.containers.family import Content, Family, digest
from ckpt.formats.containers.torch_legacy import PickleStream
from ckpt.formats.source import Damaged, Source


class BarePickle(Family):
    """One pickle and nothing else."""

    format: ClassVar[str] = "pickle"
    framework: ClassVar[str] = "unknown"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._stream = PickleStream(source)
        self._top: Any = None

    @classmethod
    def recognise(cls, source: Source) -> bool:
        head = source.head(2)
        return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5

    def prove(self) -> None:
        self._top = self._stream.next()
        if self._stream.position != self.source.size:
            raise Damaged("there are bytes behind its pickle")

    def read(self) -> Content:
        return Content(self._top, f"pickle:{digest([self._stream.consumed])}", tuple(sorted(self._stream.unknown)))
