"""The order of a map-style data set's samples: what every order does, and the loader's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from ckpt.loaders.positions import Position
from ckpt.loaders.seeding import derived

_CHUNK = 4096
"""Samples of a permutation that are made Python numbers at once."""


class Order(Protocol):
    """Which samples come in which batch."""

    @property
    def kind(self) -> str:
        """What it is, as a position tells it: another kind cannot go on with it."""
        ...

    @property
    def resumes_by(self) -> str:
        """ "position", "state" or "skipping"."""
        ...

    def begin(self, epoch: int, seed: int, resumed: Position | None) -> Iterator[Any]:
        """Batches of indices of an epoch, or single indices, from a position on."""
        ...

    def drawn(self, pending: Sequence[Any]) -> dict[str, Any] | None:
        """The state to go on from, with what is drawn and not yet taken by the training."""
        ...


class OwnOrder:
    """One after another, or a permutation that is a function of seed and epoch: any position is reached at once."""

    resumes_by = "position"

    def __init__(self, dataset: Any, batch_size: int | None, *, shuffle: bool, drop_last: bool) -> None:
        self._dataset = dataset
        self._size = batch_size
        self._shuffle = shuffle
        self._drop_last = drop_last
        self.kind = "shuffled" if shuffle else "sequential"

    def begin(self, epoch: int, seed: int, resumed: Position | None) -> Iterator[Any]:
        count = len(self._dataset)
        first = self.first_sample(resumed)
        order: torch.Tensor | range = range(count)
        if self._shuffle:
            generator = torch.Generator()
            generator.manual_seed(derived(seed, epoch, "order"))
            order = torch.randperm(count, generator=generator)
        return _singles(order, first) if self._size is None else _batches(order, first, self._size, self._drop_last)

    def drawn(self, pending: Sequence[Any]) -> dict[str, Any] | None:
        return None

    def first_sample(self, resumed: Position | None) -> int:
        """How many samples of an epoch are before a position, whatever the batch size was."""
        if resumed is None:
            return 0
        if resumed.sample_idx is not None:
            return resumed.sample_idx
        return resumed.batch_idx * (resumed.batch_size or self._size or 1)

    def batches_after(self, sample: int) -> int:
        """How many batches an epoch has from a sample on."""
        left = max(0, len(self._dataset) - sample)
        size = self._size or 1
        return left // size if self._drop_last else -(-left // size)


class Pending:
    """Batches of indices that are drawn and not taken, numbered as they come in the epoch."""

    def __init__(self, batches: Iterator[Any], first: int) -> None:
        self._batches = batches
        self._waiting: deque[tuple[int, Any]] = deque()
        self._drawn = first
        self.ended = False

    @property
    def last(self) -> int:
        """The number of the batch that was drawn last."""
        return self._drawn - 1

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            # A sampler may fill the same list again, before workers are sent it.
            kept = list(batch) if type(batch) is list else batch
            self._waiting.append((self._drawn, kept))
            self._drawn += 1
            yield kept
        self.ended = True

    def after(self, taken: int) -> list[Any]:
        """Those from a number on."""
        return [batch for number, batch in tuple(self._waiting) if number >= taken]

    def drop(self, taken: int) -> None:
        """Forgets those before a number."""
        while self._waiting and self._waiting[0][0] < taken:
            self._waiting.popleft()


def _singles(order: torch.Tensor | range, first: int) -> Iterator[int]:
    for start in range(first, len(order), _CHUNK):
        yield from _numbers(order[start : start + _CHUNK])


def _batches(order: torch.Tensor | range, first: int, size: int, drop_last: bool) -> Iterator[list[int]]:
    step = max(1, _CHUNK // size) * size
    for start in range(first, len(order), step):
        numbers = _numbers(order[start : start + step])
        for at in range(0, len(numbers), size):
            batch = numbers[at : at + size]
            if drop_last and len(batch) < size:
                return
            yield batch


def _numbers(part: torch.Tensor | range) -> list[int]:
    return list(part) if isinstance(part, range) else part.tolist()
