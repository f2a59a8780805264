"""A ResumableLoader takes, and tells, what a DataLoader is made with."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)
from torch.utils.data.datapipes.iter import IterableWrapper

from ckpt import ResumableLoader, UsageError
from loader_data import Numbers, lists


def test_it_is_a_dataloader() -> None:
    loader = ResumableLoader(Numbers(), batch_size=4, drop_last=True)
    assert lists(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(loader) == 2
    assert (loader.batch_size, loader.num_workers, loader.drop_last, loader.persistent_workers) == (4, 0, True, False)
    assert isinstance(loader.sampler, SequentialSampler)
    assert isinstance(loader.batch_sampler, BatchSampler)
    assert loader.generator is None
    assert len(loader.dataset) == 10
    assert loader.collate_fn([1, 2]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="mutually exclusive"):
        ResumableLoader(Numbers(), shuffle=True, sampler=[1, 2])
    assert lists(ResumableLoader(Numbers(0), batch_size=4)) == []
    with pytest.raises(ValueError, match="prefetch_factor"):
        ResumableLoader(Numbers(), prefetch_factor=2)


def test_a_plain_dataloader_is_taken_over() -> None:
    generator = torch.Generator().manual_seed(3)
    own = ResumableLoader.of(DataLoader(Numbers(), batch_size=3, shuffle=True, generator=generator, drop_last=True))
    assert own.resumes_by == "position"
    assert own.caveats == ()
    made = ResumableLoader(Numbers(), batch_size=3, shuffle=True, drop_last=True, seed=3)
    assert lists(own) == lists(made)
    subset = SubsetRandomSampler([1, 3, 5])
    sampled = ResumableLoader.of(DataLoader(Numbers(), batch_size=2, sampler=subset), seed=1)
    assert sampled.sampler is subset
    assert sampled.resumes_by == "skipping"
    assert "SubsetRandomSampler has no state_dict()" in sampled.slow[0]
    assert sorted(itertools.chain(*lists(sampled))) == [1, 3, 5]
    several = ResumableLoader.of(DataLoader(Numbers(), batch_sampler=[[1, 2], [3]], num_workers=1, timeout=50))
    assert lists(several) == [[1, 2], [3]]
    replaced = ResumableLoader.of(DataLoader(Numbers(), sampler=RandomSampler(Numbers(), replacement=True)))
    assert replaced.resumes_by == "skipping"
    with pytest.raises(UsageError, match=r"not a list"):
        ResumableLoader.of([1, 2])
    with pytest.raises(UsageError, match="DataPipe"):
        ResumableLoader(IterableWrapper([1, 2]))


class Doubled(DataLoader[int]):
    def __iter__(self) -> Any:
        return (2 * batch for batch in super().__iter__())


def test_a_dataloader_that_iterates_in_its_own_way_is_refused() -> None:
    with pytest.raises(UsageError, match="Doubled iterates in a way of its own"):
        ResumableLoader.of(Doubled(Numbers()))


def test_other_libraries_find_every_argument() -> None:
    loader = ResumableLoader(
        Numbers(), num_workers=2, prefetch_factor=3, timeout=7, multiprocessing_context="fork", worker_init_fn=print
    )
    plain = DataLoader(Numbers(), num_workers=2, prefetch_factor=3, timeout=7)
    for name in ("prefetch_factor", "timeout", "pin_memory", "pin_memory_device", "in_order", "persistent_workers"):
        assert getattr(loader, name) == getattr(plain, name)
    assert loader.worker_init_fn is print
    assert loader.multiprocessing_context.get_start_method() == "fork"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_a_copy_goes_on_where_the_loader_is(copied: Callable[[ResumableLoader], ResumableLoader], workers: int) -> None:
    loader = ResumableLoader(Numbers(), batch_size=2, shuffle=True, num_workers=workers, seed=3)
    iterator = iter(loader)
    next(iterator)
    next(iterator)
    twin = copied(loader)
    assert (twin.epoch, twin.batch_idx, twin.seed) == (0, 2, 3)
    assert lists(twin) == [batch.tolist() for batch in iterator]
    assert lists(copied(twin)) == lists(loader)


class Unsized(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


def test_a_data_set_that_does_not_tell_its_length_goes_on_too() -> None:
    loader = ResumableLoader(Unsized(), batch_size=2, sampler=range(6))
    iterator = iter(loader)
    assert next(iterator).tolist() == [0, 1]
    state = loader.state_dict()
    assert state["samples"] is None
    other = ResumableLoader(Unsized(), batch_size=2, sampler=range(6))
    other.load_state_dict(state)
    assert lists(other) == [[2, 3], [4, 5]]
