"""The side of a loader that knows map-style data sets: their epochs, begun and gone on with, and what they tell."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader

from ckpt.loaders.order.own import OwnOrder
from ckpt.loaders.order.samplers import SamplerOrder
from ckpt.loaders.positions import Position, ReaderState
from ckpt.loaders.reading.epoch import SampleEpoch
from ckpt.loaders.reading.inner import own_order
from ckpt.loaders.reading.readers import Readers
from ckpt.loaders.reading.serving import Reading, ServedByWorkers, ServedSamples, give
from ckpt.saving.capture.protocol import has_state

log = logging.getLogger("ckpt.saving")


class SampleSource:
    """A map-style data set, its order, and what reads it."""

    def __init__(self, plain: DataLoader[Any], reading: Reading) -> None:
        self._plain = plain
        self._dataset: Any = plain.dataset
        self._stateful = has_state(plain.dataset)
        self._own = own_order(plain)
        self._sampled = None if self._own else SamplerOrder(plain.batch_sampler if reading.batched else plain.sampler)
        self._first = (0, 0)
        """The batch and the sample at which the epoch under way was begun or gone on with."""
        self.served: Any
        if plain.num_workers:
            self.served = ServedByWorkers(plain.dataset, reading, stateful=self._stateful)
        else:
            self.served = ServedSamples(plain.dataset, reading)

    @property
    def _order(self) -> OwnOrder | SamplerOrder:
        return self._own or self._sampled  # type: ignore[return-value]

    @property
    def kind(self) -> str:
        """The kind of the order."""
        return self._order.kind

    @property
    def remembers(self) -> bool:
        """Whether something goes over from one epoch to the next."""
        return self._stateful or self._sampled is not None

    def resumes_by(self, epoch: SampleEpoch | None) -> str:
        """How an epoch is gone on with."""
        return self._order.resumes_by

    def begin(self, epoch: int, seed: int, resumed: Position | None, carried: Sequence[ReaderState]) -> SampleEpoch:
        """An epoch from its beginning, or from a position. Raises StateError for a state that is not taken."""
        position = resumed if resumed is not None and resumed.epoch_open else None
        if resumed is not None and position is None:
            self.end(max(0, epoch - 1), seed, resumed)
        if self._stateful and resumed is not None and resumed.dataset_state is not None:
            give(self._dataset, resumed.dataset_state)
        batches = self._order.begin(epoch, seed, position)
        taken = 0 if position is None else position.batch_idx
        self._first = (taken, 0 if self._own is None else self._own.first_sample(position))
        readers = None
        if self._stateful and self._plain.num_workers:
            readers = Readers(self._plain.num_workers, seed, epoch)
            readers.begin(resumed, carried)
        if position is not None:
            log.debug("restored the loader: epoch %d at batch %d, by %s", epoch, taken, self._order.resumes_by)
        return SampleEpoch(self._order, batches, taken, seed=seed, epoch=epoch, readers=readers)

    def end(self, epoch: int, seed: int, resumed: Position) -> dict[str, Any] | None:
        """Brings the sampler to the end of an epoch without reading data; what it tells then."""
        return None if self._sampled is None else self._sampled.end(epoch, seed, resumed)

    def tasks(self, epoch: SampleEpoch) -> Iterator[Any]:
        """What the inner DataLoader sends."""
        return epoch.tasks(self._plain.num_workers) if self._plain.num_workers else epoch.indices()

    def told(self, epoch: SampleEpoch | None, carried: Sequence[ReaderState], *, over: bool) -> dict[str, Any]:
        """The fields of a position that this side knows."""
        fields: dict[str, Any] = {
            "order": self._order.kind,
            "samples": len(self._dataset),
            "dataset_state": copy.deepcopy(self._dataset.state_dict()) if self._stateful else None,
        }
        if epoch is None:
            between = None if self._sampled is None else self._sampled.between()
            return {**fields, "exhausted": over, "sampler_state": between, "readers": tuple(carried)}
        readers = epoch.readers
        return {
            **fields,
            "exhausted": self._is_exhausted(epoch),
            "sample_idx": None if self._own is None else self._taken(epoch),
            "sampler_state": epoch.sampler_state(),
            "prefetched": epoch.prefetched,
            "readers": () if readers is None else readers.plain(),
            "next_reader": 0 if readers is None else readers.next,
        }

    def _taken(self, epoch: SampleEpoch) -> int:
        batch, sample = self._first
        return min(sample + (epoch.taken - batch) * (self._plain.batch_size or 1), len(self._dataset))

    def _is_exhausted(self, epoch: SampleEpoch) -> bool:
        if epoch.exhausted:
            return True
        if self._own is not None:
            return self._own.batches_after(self._taken(epoch)) == 0
        try:
            return epoch.taken >= len(self._plain)
        except TypeError:
            return False
