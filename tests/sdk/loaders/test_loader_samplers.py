"""Samplers of somebody's own: whose state is enough, who begins anew, and what the loader tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DistributedSampler, Sampler

from ckpt import ResumableLoader

COUNT = 23


class Going(Sampler[int]):
    """Goes on over the indices it is given, with a state; `passes` counts over the epochs."""

    def __init__(self, indices: list[int]) -> None:
        self.indices = indices
        self.at = 0
        self.passes = 0

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        while self.at < len(self.indices):
            self.at += 1
            yield self.indices[(self.at - 1 + self.passes) % len(self.indices)]
        self.at = 0
        self.passes += 1

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at, "passes": self.passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at, self.passes = state["at"], state["passes"]


class Bucketed(Sampler[list[int]]):
    """Batches of alike indices: holds back what does not make a batch yet."""

    def __init__(self, sampler: Sampler[int]) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[list[int]]:
        buckets: dict[int, list[int]] = {}
        for index in self.sampler:
            bucket = buckets.setdefault(index % 3, [])
            bucket.append(index)
            if len(bucket) == 3:
                yield bucket
                buckets[index % 3] = []
        yield from (bucket for bucket in buckets.values() if bucket)


class Refilling(Going):
    """Gives the same list again and again, filled anew; a batch sampler with a state."""

    def __iter__(self) -> Iterator[Any]:
        batch: list[int] = []
        for index in super().__iter__():
            batch.append(index)
            if len(batch) == 2:
                yield batch
                batch.clear()


def bucketed() -> ResumableLoader:
    return ResumableLoader(range(COUNT), batch_sampler=Bucketed(Going(list(range(COUNT)))))


def plain_batches() -> ResumableLoader:
    return ResumableLoader(range(COUNT), batch_sampler=BatchSampler(Going(list(range(COUNT))), 4, False))


def repeating() -> ResumableLoader:
    return ResumableLoader(range(COUNT), batch_size=4, sampler=Going([0, 1, 2, 3] * 5))


def repeating_at_first() -> ResumableLoader:
    return ResumableLoader(range(COUNT), batch_size=2, sampler=Going([0, 1, 0, 1, 0, 1, 5, 6, 7, 8, 9, 10]))


def refilling() -> ResumableLoader:
    return ResumableLoader(range(COUNT), batch_sampler=Refilling(list(range(12))))


def refilling_for_workers() -> ResumableLoader:
    return ResumableLoader(range(COUNT), batch_sampler=Refilling(list(range(12))), num_workers=1)


MAKERS = [bucketed, plain_batches, repeating, repeating_at_first, refilling]


def lists(loader: Any) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("make", MAKERS)
def test_every_cut_goes_on_as_if_it_had_not_been(make: Callable[[], ResumableLoader]) -> None:
    loader = make()
    given, cuts = [], []
    for _ in range(2):
        for batch in loader:
            given.append(batch.tolist())
            cuts.append(loader.state_dict())
    following = lists(loader)
    for taken, state in enumerate(cuts, 1):
        loader = make()
        loader.load_state_dict(state)
        rest: list[Any] = []
        while loader.epoch < 2:
            rest += lists(loader)
        assert rest == given[taken:], taken
        assert lists(loader) == following


@pytest.mark.parametrize(("make", "how"), [(bucketed, "skipping"), (plain_batches, "state"), (repeating, "state")])
def test_a_state_is_enough_where_nothing_outside_of_it_holds_indices_back(
    make: Callable[[], ResumableLoader], how: str
) -> None:
    assert make().resumes_by == how


def test_a_list_that_a_sampler_fills_again_reaches_workers_as_it_was() -> None:
    pairs = [[at, at + 1] for at in range(0, 12, 2)]
    iterator = iter(loader := refilling_for_workers())
    assert next(iterator).tolist() == pairs[0]
    state = loader.state_dict()
    assert [batch.tolist() for batch in iterator] == pairs[1:]
    loader = refilling_for_workers()
    loader.load_state_dict(state)
    assert lists(loader) == pairs[1:]


def test_an_epoch_that_only_the_sampler_was_told_is_warned_of() -> None:
    def made() -> tuple[Any, ResumableLoader]:
        sampler: Any = DistributedSampler(range(8), num_replicas=2, rank=0)
        return sampler, ResumableLoader(range(8), batch_size=2, sampler=sampler)

    sampler, loader = made()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        lists(loader)
    between = loader.state_dict()
    sampler, loader = made()
    loader.load_state_dict(between)
    sampler.set_epoch(3)
    lists(loader)
    sampler.set_epoch(9)
    with pytest.warns(RuntimeWarning, match="DistributedSampler was set to epoch 9, and the loader is at epoch 4"):
        lists(loader)


def test_a_state_told_while_a_sampler_draws_leaves_the_trainings_generators_alone() -> None:
    told: list[Any] = []

    class Asking(Going):
        def __iter__(self) -> Iterator[int]:
            for index in super().__iter__():
                torch.rand(())
                if len(told) < 4:
                    told.append(None)
                    told.append(loader.state_dict())
                yield index

    loader = ResumableLoader(range(8), batch_size=2, sampler=Asking(list(range(8))))
    before = torch.get_rng_state()
    iterator = iter(loader)
    next(iterator)
    assert len(told) >= 2
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", MAKERS)
def test_the_beginning_that_a_state_tells_begins_its_epoch_again(make: Callable[[], ResumableLoader]) -> None:
    loader = make()
    lists(loader)
    between, second, third = loader.state_dict(), lists(loader), lists(loader)
    for taken in (1, 2):
        loader = make()
        loader.load_state_dict(between)
        iterator = iter(loader)
        for _ in range(taken):
            next(iterator)
        again = make()
        again.load_state_dict(loader.state_dict()["at_start"])
        assert (lists(again), lists(again)) == (second, third)
        del iterator
