"""Who writes a checkpoint: chosen by the config and by how large it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ckpt.writing.carriers import Carrier, InlineCarrier, ProcessCarrier, ThreadCarrier

SMALL = 16 << 20
"""Bytes below which a thread writes: it costs the training less than a process of its own."""

Kind = Literal["inline", "thread", "process"]
Background = bool | Literal["thread", "process"]


def kind_for(background: Background, size: int) -> Kind:
    """Who writes a file of `size` bytes."""
    if background is False:
        return "inline"
    if background is True:
        return "thread" if size < SMALL else "process"
    return background


class Carriers:
    """The carriers of one run, each made when it is first needed."""

    def __init__(self, lock_fd: Callable[[], int | None]) -> None:
        """`lock_fd` tells the descriptor of the run's lock, which a writer process holds too."""
        self._lock_fd = lock_fd
        self._made: dict[Kind, Carrier] = {}

    def get(self, kind: Kind) -> Carrier:
        """The carrier of a kind."""
        carrier = self._made.get(kind)
        if carrier is None:
            carrier = self._made[kind] = self._make(kind)
        return carrier

    def close(self) -> None:
        """Waits for what they write and ends them; may be called twice. Later ones are made anew."""
        while self._made:
            self._made.popitem()[1].close()

    def _make(self, kind: Kind) -> Carrier:
        if kind == "process":
            return ProcessCarrier(self._lock_fd)
        return ThreadCarrier() if kind == "thread" else InlineCarrier()
