"""What a loader was made with, by the names that torch's DataLoader has for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader


class Arguments:
    """The arguments of a DataLoader, to be read: other libraries look at a loader by them."""

    _plain: DataLoader[Any]

    @property
    def dataset(self) -> Any:
        """The data set."""
        return self._plain.dataset

    @property
    def batch_size(self) -> int | None:
        """Samples of a batch; None where a batch sampler decides, and where samples are not batched."""
        return self._plain.batch_size

    @property
    def sampler(self) -> Any:
        """Where the indices of samples come from."""
        return self._plain.sampler

    @property
    def batch_sampler(self) -> Any:
        """Where batches of indices come from; None where samples are not batched."""
        return self._plain.batch_sampler

    @property
    def num_workers(self) -> int:
        """Processes that read the data; 0 for the training's own."""
        return self._plain.num_workers

    @property
    def collate_fn(self) -> Callable[[Any], Any]:
        """What makes a batch of samples."""
        return self._plain.collate_fn

    @property
    def pin_memory(self) -> bool:
        """Whether batches are put into pinned memory."""
        return self._plain.pin_memory

    @property
    def drop_last(self) -> bool:
        """Whether a last batch that is not full is left out."""
        return self._plain.drop_last

    @property
    def timeout(self) -> float:
        """Seconds after which a batch that a worker does not give is an error; 0 for never."""
        return self._plain.timeout

    @property
    def worker_init_fn(self) -> Callable[[int], None] | None:
        """What a worker calls with its number before it reads."""
        return self._plain.worker_init_fn

    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started; None for the default."""
        return self._plain.multiprocessing_context

    @property
    def generator(self) -> torch.Generator | None:
        """What `seed` was taken from; nothing is drawn from it."""
        generator: torch.Generator | None = self._plain.generator
        return generator

    @property
    def prefetch_factor(self) -> int | None:
        """Batches that each worker reads ahead; None without workers."""
        return self._plain.prefetch_factor

    @property
    def persistent_workers(self) -> bool:
        """Whether workers live on from epoch to epoch."""
        return self._plain.persistent_workers

    @property
    def pin_memory_device(self) -> str:
        """The device that memory is pinned for."""
        return self._plain.pin_memory_device

    @property
    def in_order(self) -> bool:
        """As it was given; batches come in order all the same."""
        return self._plain.in_order
