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
from ckpt.loaders.reading.inner import length_of, own_order
from ckpt.loaders.reading.readers import Readers
from ckpt.loaders.reading.serving import Reading, ServedByWorkers, ServedSamples, give
from ckpt.runs.rank import world_size
from ckpt.saving.capture.protocol import has_state

log = logging.getLogger("ckpt.saving")


class SampleSource:
    """A map-style data set, its order, and what reads it."""

    def __init__(self, plain: DataLoader[Any], reading: Reading) -> None:
        self._plain = plain
        self._dataset: Any = plain.dataset
        self._stateful = has_state(plain.dataset)
        self._order = own_order(plain) or SamplerOrder(plain.batch_sampler if reading.batched else plain.sampler)
        self._told_of_ranks = False
        self._first = (0, 0)
        """The batch and the sample at which the epoch under way was begun or gone on with."""
        self.served: Any
        if plain.num_workers:
            self.served = ServedByWorkers(plain.dataset, reading, stateful=self._stateful)
        else:
            self.served = ServedSamples(plain.dataset, reading)

    @property
    def kind(self) -> str:
        """The kind of the order."""
        return self._order.kind

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
        self._tell_of_ranks()
        batches = self._order.begin(epoch, seed, position)
        taken = 0 if position is None else position.batch_idx
        self._first = (taken, self._order.first_sample(position) if isinstance(self._order, OwnOrder) else 0)
        readers = None
        if self._stateful and self._plain.num_workers:
            readers = Readers(self._plain.num_workers, seed, epoch)
            readers.begin(resumed, carried)
        if position is not None:
            log.debug("restored the loader: epoch %d at batch %d, by %s", epoch, taken, self._order.resumes_by)
        return SampleEpoch(self._order, batches, taken, seed=seed, epoch=epoch, readers=readers)

    def end(self, epoch: int, seed: int, resumed: Position, *, left: bool = False) -> dict[str, Any] | None:
        """Brings the sampler to the end of an epoch, or leaves it, without reading data; what it tells then."""
        return self._order.end(epoch, seed, resumed, left=left) if isinstance(self._order, SamplerOrder) else None

    def _tell_of_ranks(self) -> None:
        world = world_size()
        if world > 1 and isinstance(self._order, OwnOrder) and not self._told_of_ranks:
            self._told_of_ranks = True
            log.warning(
                "%d processes train together, and the loader of each reads the whole data set: give it a sampler such "
                "as torch.utils.data.DistributedSampler, unless each process has data of its own",
                world,
            )

    def tasks(self, epoch: SampleEpoch) -> Iterator[Any]:
        """What the inner DataLoader sends."""
        return epoch.tasks(self._plain.num_workers) if self._plain.num_workers else epoch.indices()

    def told(self, epoch: SampleEpoch | None, carried: Sequence[ReaderState], *, over: bool) -> dict[str, Any]:
        """The fields of a position that this side knows."""
        fields: dict[str, Any] = {
            "order": self._order.kind,
            "samples": length_of(self._dataset),
            "dataset_state": copy.deepcopy(self._dataset.state_dict()) if self._stateful else None,
        }
        if epoch is None:
            between = self._order.between() if isinstance(self._order, SamplerOrder) else None
            return {**fields, "exhausted": over, "sampler_state": between, "readers": tuple(carried)}
        readers = epoch.readers
        now = epoch.told()
        sample = self._sample(now["batch_idx"])
        return {
            **fields,
            **now,
            "exhausted": now["exhausted"] or self._is_exhausted(now["batch_idx"], sample),
            "sample_idx": sample,
            "readers": () if readers is None else readers.plain(),
            "next_reader": 0 if readers is None else readers.next,
        }

    def _sample(self, taken: int) -> int | None:
        """How many samples are in the batches that were taken, where the order is the loader's own."""
        batch, sample = self._first
        if not isinstance(self._order, OwnOrder):
            return None
        return min(sample + (taken - batch) * (self._plain.batch_size or 1), len(self._dataset))

    def _is_exhausted(self, taken: int, sample: int | None) -> bool:
        if isinstance(self._order, OwnOrder) and sample is not None:
            return self._order.batches_after(sample) == 0
        try:
            return taken >= len(self._plain)
        except TypeError:
            return False
