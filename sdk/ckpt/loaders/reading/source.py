"""What a loader asks of the side of it that knows its kind of data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from ckpt.loaders.positions import Position, ReaderState

Epoch = TypeVar("Epoch")


class Source(Protocol[Epoch]):
    """A data set, map-style or iterable, and what reads it."""

    served: Any
    """The data set as the inner DataLoader is given it."""

    @property
    def kind(self) -> str:
        """The kind of the order."""

    def resumes_by(self, epoch: Epoch | None) -> str:
        """How an epoch is gone on with: "position", "state" or "skipping"."""

    def begin(self, epoch: int, seed: int, resumed: Position | None, carried: Sequence[ReaderState]) -> Epoch:
        """An epoch from its beginning, or from a position. Raises StateError for a state that is not taken."""

    def end(self, epoch: int, seed: int, resumed: Position, *, left: bool = False) -> dict[str, Any] | None:
        """Comes to the end of an epoch without reading data; what the sampler tells then, if there is one."""

    def tasks(self, epoch: Epoch) -> Iterator[Any]:
        """What the inner DataLoader sends."""

    def told(self, epoch: Epoch | None, carried: Sequence[ReaderState], *, over: bool) -> dict[str, Any]:
        """The fields of a position that this side knows."""
