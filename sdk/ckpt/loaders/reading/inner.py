"""torch's DataLoader, from the outside: what one was made with, and the one that carries tasks to readers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.utils import data as torch_data
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from ckpt.exceptions import UsageError
from ckpt.loaders.order.own import OwnOrder
from ckpt.loaders.reading.serving import WorkerStart, as_it_is
from ckpt.loaders.seeding import derived
from ckpt.runs.rank import rank
from ckpt.telling import tell

log = logging.getLogger("ckpt.saving")

# torch gave DataPipes up, and may leave them out one day.
_PIPES = tuple(getattr(torch_data, name) for name in ("IterDataPipe", "MapDataPipe") if hasattr(torch_data, name))


class Feed:
    """The inner DataLoader's sampler: the tasks of the epoch that is under way."""

    def __init__(self) -> None:
        self.tasks: Iterator[Any] = iter(())

    def __iter__(self) -> Iterator[Any]:
        return self.tasks


def inner_loader(plain: DataLoader[Any], served: Any, feed: Feed) -> DataLoader[Any]:
    """A DataLoader that sends tasks to readers as `plain` would send indices."""
    workers: dict[str, Any] = {}
    if plain.num_workers:
        workers = {
            "prefetch_factor": plain.prefetch_factor,
            "persistent_workers": plain.persistent_workers,
            "multiprocessing_context": plain.multiprocessing_context,
            "worker_init_fn": WorkerStart(plain.worker_init_fn),
            "timeout": plain.timeout,
        }
    if plain.num_workers and not plain.in_order:
        tell(
            "in_order=False: batches come in order all the same, since a position is a place in an order; leave it out",
            log,
        )
    if plain.pin_memory_device:
        workers["pin_memory_device"] = plain.pin_memory_device
    inner: Any = DataLoader(
        served,
        batch_size=None,
        sampler=feed,
        num_workers=plain.num_workers,
        collate_fn=as_it_is,
        pin_memory=plain.pin_memory,
        # DataLoader draws a seed for its workers at every epoch; not from the training's generator.
        generator=torch.Generator(),
        in_order=True,
        **workers,
    )
    # Who listens to all DataLoaders of a process has to tell this one from those of a training.
    inner.is_inner = True
    return cast("DataLoader[Any]", inner)


def seed_workers(inner: DataLoader[Any], seed: int, epoch: int) -> None:
    """Has the workers that are started for an epoch find random generators seeded for it in their `worker_init_fn`."""
    inner.generator.manual_seed(derived(seed, rank(), epoch, "workers"))


def own_order(plain: DataLoader[Any]) -> OwnOrder | None:
    """The order of a DataLoader that was given no sampler; None for one that was."""
    sampler: Any = plain.sampler
    batches: Any = plain.batch_sampler
    data: Any = plain.dataset
    if batches is not None and not (
        type(batches) is BatchSampler
        and batches.sampler is sampler
        and batches.batch_size == plain.batch_size
        and batches.drop_last == plain.drop_last
    ):
        return None
    if type(sampler) is SequentialSampler and sampler.data_source is data:
        return OwnOrder(plain.dataset, plain.batch_size, shuffle=False, drop_last=plain.drop_last)
    if type(sampler) is RandomSampler and sampler.data_source is data and _is_a_permutation(sampler, plain):
        return OwnOrder(plain.dataset, plain.batch_size, shuffle=True, drop_last=plain.drop_last)
    return None


def length_of(dataset: Any) -> int | None:
    """How many samples a data set has; None for one that does not tell."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None


def refuse_pipes(dataset: Any) -> None:
    """Raises UsageError for a DataPipe, whose random states are out of reach."""
    if isinstance(dataset, _PIPES):
        raise UsageError(
            f"the data set is a DataPipe, {type(dataset).__name__}, whose position cannot be told",
            hint="give a Dataset or an IterableDataset; one with state_dict() resumes at once",
        )


def _is_a_permutation(sampler: Any, plain: DataLoader[Any]) -> bool:
    whole = not sampler.replacement and sampler.num_samples == length_of(plain.dataset)
    return bool(whole and sampler.generator is plain.generator)
