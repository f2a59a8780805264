"""What a ResumableLoader does beside going on: epochs, loops that are left, the position it tells, and its log."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    SubsetRandomSampler,
)

from ckpt import ResumableLoader, StateError
from loader_data import Numbers, after, lists


class Failing(Numbers):
    fails = True

    def __getitem__(self, index: int) -> int:
        if index == 4 and self.fails:
            raise OSError("a disk is away")
        return index


class BeginsAnew:
    """A sampler that takes a state and begins anew all the same."""

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(10).tolist()

    def __len__(self) -> int:
        return 10

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_every_epoch_is_shuffled_otherwise_and_by_the_seed_alone() -> None:
    one = ResumableLoader(Numbers(), batch_size=10, shuffle=True, seed=3)
    other = ResumableLoader(Numbers(), batch_size=10, shuffle=True, seed=3)
    first, second = lists(one), lists(one)
    assert sorted(first[0]) == sorted(second[0]) == list(range(10))
    assert first != second
    other.set_epoch(1)
    assert lists(other) == second
    assert lists(ResumableLoader(Numbers(), batch_size=10, shuffle=True, seed=4)) != first
    torch.manual_seed(3)
    assert lists(ResumableLoader(Numbers(), batch_size=10, shuffle=True)) == first
    generator = torch.Generator().manual_seed(3)
    assert lists(ResumableLoader(Numbers(), batch_size=10, shuffle=True, generator=generator)) == first


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_is_drawn_from_the_trainings_generators(workers: int) -> None:
    loaders = [
        ResumableLoader(Numbers(), batch_size=2, shuffle=True, num_workers=workers),
        ResumableLoader(Numbers(), batch_size=2, sampler=SubsetRandomSampler(range(8)), num_workers=workers),
    ]
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    for loader in loaders:
        assert len(list(loader)) == len(loader)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_loop_that_is_left_ends_the_epoch_and_an_exception_does_not() -> None:
    loader = ResumableLoader(Numbers(), batch_size=2)
    for _ in loader:
        break
    assert (loader.epoch, loader.batch_idx) == (1, 0)
    state = loader.state_dict()
    assert (state["epoch"], state["epoch_open"], state["batch_idx"], state["exhausted"]) == (1, False, 0, True)
    looking = Looking(loader)
    with pytest.raises(RuntimeError), looking:
        for at, _ in enumerate(loader):
            if at == 2:
                raise RuntimeError("out of memory")
    assert looking.states[0]["epoch_open"]
    assert (looking.states[0]["epoch"], looking.states[0]["batch_idx"]) == (1, 3)
    try:
        for at, _ in enumerate(loader):
            if at == 1:
                raise RuntimeError("out of memory")
    except RuntimeError:
        state = loader.state_dict()
        assert (state["epoch"], state["epoch_open"], state["batch_idx"]) == (2, True, 2)
    with pytest.raises(ZeroDivisionError), looking:
        train(loader)
    assert looking.states[1]["epoch_open"]
    assert looking.states[1]["batch_idx"] == 1
    for batch in loader:
        if batch.tolist() == [4, 5]:
            break
    with pytest.raises(KeyError), looking:
        raise KeyError("later")
    assert not looking.states[2]["epoch_open"]
    other = ResumableLoader(Numbers(), batch_size=2)
    other.load_state_dict(looking.states[0])
    assert lists(other) == [[6, 7], [8, 9]]


class Looking:
    """Asks a loader for its state when a block is left."""

    def __init__(self, loader: ResumableLoader) -> None:
        self.loader = loader
        self.states: list[dict[str, Any]] = []

    def __enter__(self) -> Looking:
        return self

    def __exit__(self, *error: object) -> None:
        self.states.append(self.loader.state_dict())


def train(loader: ResumableLoader) -> None:
    for batch in loader:
        print(len(batch) // 0)


def test_a_second_iteration_ends_the_first() -> None:
    loader = ResumableLoader(Numbers(), batch_size=2)
    first = iter(loader)
    next(first)
    second = iter(loader)
    assert next(second).tolist() == [0, 1]
    assert loader.epoch == 1
    assert list(first) == []
    assert loader.batch_idx == 1


def test_a_sample_that_cannot_be_read_is_read_again_after_a_resume() -> None:
    loader = ResumableLoader(Failing(), batch_size=2)
    taken = []
    with pytest.raises(OSError, match="disk is away"):
        for batch in loader:
            taken += batch.tolist()
    assert taken == [0, 1, 2, 3]
    state = loader.state_dict()
    assert (state["batch_idx"], state["epoch_open"]) == (2, True)
    whole = Failing()
    whole.fails = False
    other = ResumableLoader(whole, batch_size=2)
    other.load_state_dict(state)
    assert lists(other) == [[4, 5], [6, 7], [8, 9]]


def test_set_epoch_keeps_a_loaded_position_of_that_epoch_and_no_other() -> None:
    loader = ResumableLoader(Numbers(), batch_size=4)
    loader.set_epoch(5)
    _, state = after(1, loader)
    same, other = ResumableLoader(Numbers(), batch_size=4), ResumableLoader(Numbers(), batch_size=4)
    for made, epoch in ((same, 5), (other, 6)):
        made.load_state_dict(state)
        assert (made.epoch, made.batch_idx) == (5, 1)
        made.set_epoch(epoch)
    assert lists(same) == [[4, 5, 6, 7], [8, 9]]
    assert len(lists(other)) == 3
    assert (same.epoch, other.epoch) == (6, 7)
    with pytest.raises(StateError, match="epoch is -1"):
        loader.set_epoch(-1)


def test_the_position_is_what_was_taken_and_not_what_was_read_ahead() -> None:
    loader = ResumableLoader(Numbers(20), batch_size=2, num_workers=2, prefetch_factor=2)
    held, state = after(3, loader)
    assert (state["batch_idx"], state["sample_idx"], state["prefetched"]) == (3, 6, 4)
    assert not state["exhausted"]
    *_, last = held
    assert last.tolist() == [18, 19]


def test_a_state_at_the_last_batch_gives_nothing_and_then_the_next_epoch() -> None:
    loader = ResumableLoader(Numbers(), batch_size=5)
    held, state = after(2, loader)
    assert (state["exhausted"], state["epoch_open"], state["epoch"]) == (True, True, 0)
    other = ResumableLoader(Numbers(), batch_size=5)
    other.load_state_dict(state)
    assert lists(other) == []
    assert other.epoch == 1
    assert len(lists(other)) == 2
    assert next(held, None) is None


def test_a_loaded_state_is_told_again_before_it_is_gone_on_with() -> None:
    _, state = after(2, ResumableLoader(Numbers(), batch_size=2, shuffle=True, seed=8))
    loader = ResumableLoader(Numbers(), batch_size=2, shuffle=True, seed=1)
    loader.load_state_dict(state)
    assert loader.state_dict() == state
    assert loader.seed == 8


def test_a_sampler_that_begins_anew_is_skipped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    loader = ResumableLoader(Numbers(), batch_size=2, sampler=BeginsAnew(), seed=4)
    iterator, state = after(2, loader)
    rest = [batch.tolist() for batch in iterator]
    other = ResumableLoader(Numbers(), batch_size=2, sampler=BeginsAnew(), seed=4)
    other.load_state_dict(state)
    with caplog.at_level(logging.WARNING, logger="ckpt.saving"):
        assert lists(other) == rest
    assert "begins its epoch anew although its state was loaded" in caplog.text


def test_the_log_tells_what_was_restored_and_advanced(caplog: pytest.LogCaptureFixture) -> None:
    _, state = after(2, ResumableLoader(Numbers(), batch_size=4))
    loader = ResumableLoader(Numbers(), batch_size=4)
    loader.load_state_dict(state)
    with caplog.at_level(logging.DEBUG, logger="ckpt.saving"):
        lists(loader)
    assert [record.message for record in caplog.records] == [
        "restored the loader: epoch 0 at batch 2, by position",
        "advanced the loader: epoch 0 is over behind batch 3",
    ]


def passed_on(loader: ResumableLoader) -> Iterator[Any]:
    """A generator between the loop and the loader, as a progress bar is one."""
    yield from loader


def test_a_generator_between_loop_and_loader_does_not_hide_how_the_loop_was_left() -> None:
    loader = ResumableLoader(Numbers(), batch_size=2)
    looking = Looking(loader)
    with pytest.raises(RuntimeError), looking:
        for batch in passed_on(loader):
            if batch.tolist() == [2, 3]:
                raise RuntimeError("out of memory")
    assert (looking.states[0]["epoch_open"], looking.states[0]["batch_idx"]) == (True, 2)
    for _ in passed_on(loader):
        break
    with pytest.raises(RuntimeError), looking:
        raise RuntimeError("in the validation")
    assert (looking.states[1]["epoch_open"], looking.states[1]["epoch"]) == (False, 2)
