"""Workers behind a ResumableLoader: how they are started, seeded and set up."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    get_worker_info,
)

from ckpt import ResumableLoader, seed_worker
from loader_data import Augmented, Numbers, after, lists


def place_offset(worker: int) -> None:
    """As torch's documentation configures the data set's copy in a worker."""
    info = get_worker_info()
    assert info is not None
    dataset: Any = info.dataset
    dataset.offset = 1000


def test_a_worker_init_fn_finds_the_data_set_itself() -> None:
    loader = ResumableLoader(Numbers(4), batch_size=2, num_workers=1, worker_init_fn=place_offset)
    assert lists(loader) == [[1000, 1001], [1002, 1003]]


def test_spawned_workers_go_on_exactly_too() -> None:
    def made() -> ResumableLoader:
        return ResumableLoader(
            Augmented(8), batch_size=2, shuffle=True, num_workers=1, multiprocessing_context="spawn", seed=5
        )

    iterator, state = after(2, made())
    rest = [batch.tolist() for batch in iterator]
    forked = ResumableLoader(Augmented(8), batch_size=2, shuffle=True, num_workers=2, multiprocessing_context="fork")
    forked.load_state_dict(state)
    assert lists(forked) == rest


def test_seed_worker_seeds_python_and_numpy_by_torchs_seed() -> None:
    torch.manual_seed(2**40 + 7)
    seed_worker(0)
    first = random.random(), float(np.random.rand())
    seed_worker(3)
    assert (random.random(), float(np.random.rand())) == first
    torch.manual_seed(1)
    seed_worker(0)
    assert random.random() != first[0]


class OfWorker(Numbers):
    """Draws from a generator that `worker_init_fn` made."""

    generator: random.Random

    def __getitem__(self, index: int) -> Any:
        return torch.tensor(self.generator.random(), dtype=torch.float64)


def own_generator(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    dataset: Any = info.dataset
    dataset.generator = random.Random(torch.initial_seed())


def test_workers_are_seeded_by_seed_epoch_and_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(seed: int) -> ResumableLoader:
        return ResumableLoader(OfWorker(2), num_workers=1, seed=seed, worker_init_fn=own_generator)

    loader = made(1)
    first, second = lists(loader), lists(loader)
    assert lists(made(1)) == first
    assert first != second
    assert lists(made(2)) != first
    between = made(1)
    between.set_epoch(1)
    assert lists(between) == second
    monkeypatch.setenv("RANK", "1")
    assert lists(made(1)) != first


class Late(Numbers):
    """The first worker's samples come last."""

    def __getitem__(self, index: int) -> int:
        if index < 2:
            time.sleep(0.3)
        return index


def test_batches_come_in_order_although_they_need_not() -> None:
    loader = ResumableLoader(Late(8), batch_size=2, num_workers=2, in_order=False)
    with pytest.warns(RuntimeWarning, match="in_order=False: batches come in order all the same"):
        iterator = iter(loader)
        assert next(iterator).tolist() == [0, 1]
    assert loader.caveats == ()
    assert [batch.tolist() for batch in iterator] == [[2, 3], [4, 5], [6, 7]]
