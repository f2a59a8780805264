"""What a loader tells of itself that cannot go on exactly, or not fast."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, Subset, SubsetRandomSampler, get_worker_info

from ckpt import ResumableLoader, seed_worker
from loader_data import Numbers


class Held(Numbers):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = random.Random(1)


class Noise:
    def __init__(self) -> None:
        self.random = np.random.default_rng(1)

    def __call__(self, samples: list[int]) -> Any:
        return self.random.permutation(samples)


class Transformed(Numbers):
    def __init__(self, transform: Any) -> None:
        super().__init__()
        self.transforms = [transform]


class Counting(Numbers):
    """Tells a state."""

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


class Telling(Held):
    """Has a generator, and tells its state."""

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.setstate(state["generator"])


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


def set_up(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    dataset: Any = info.dataset
    dataset.generator = random.Random(worker)


def seeds(worker: int) -> None:
    random.seed(torch.initial_seed())


@pytest.mark.parametrize(
    ("loader", "sentence"),
    [
        (lambda: ResumableLoader(Held()), "Held holds random generators of its own (generator)"),
        (
            lambda: ResumableLoader(Subset(Held(), [1, 2])),
            "random generators of its own (dataset.generator)",
        ),
        (lambda: ResumableLoader(Transformed(Noise())), "its own (transforms.0.random)"),
        (lambda: ResumableLoader(Transformed(partial(Noise(), [3]))), "its own (transforms.0.random)"),
        (
            lambda: ResumableLoader(Numbers(), collate_fn=Noise()),
            "collate_fn holds a random generator",
        ),
        (lambda: ResumableLoader(Numbers(), collate_fn=Noise().__call__), "its own (random)"),
        (
            lambda: ResumableLoader(Subset(Counting(), [1])),
            "Subset holds a Counting (dataset) whose state",
        ),
        (lambda: ResumableLoader(Numbers(), num_workers=1, worker_init_fn=set_up), "worker_init_fn sets up"),
    ],
)
def test_what_makes_a_resume_differ_is_told(loader: Callable[[], ResumableLoader], sentence: str) -> None:
    (caveat,) = loader().caveats
    assert sentence in caveat
    assert loader().slow == ()


@pytest.mark.parametrize(
    "loader",
    [
        lambda: ResumableLoader(Numbers(), shuffle=True, num_workers=1, worker_init_fn=seed_worker),
        lambda: ResumableLoader(Numbers(), num_workers=1, worker_init_fn=seeds),
        lambda: ResumableLoader(Telling()),
        lambda: ResumableLoader(Counting()),
        lambda: ResumableLoader(Transformed(torch.nn.Dropout())),
        lambda: ResumableLoader(list(range(100_000))),
    ],
)
def test_what_goes_on_exactly_and_at_once_has_nothing_to_tell(loader: Callable[[], ResumableLoader]) -> None:
    assert loader().caveats == ()
    assert loader().slow == ()


def test_what_takes_the_longer_the_further_it_is_is_no_caveat() -> None:
    sampled = ResumableLoader(Numbers(), sampler=SubsetRandomSampler([1, 2]))
    assert sampled.caveats == ()
    assert "SubsetRandomSampler has no state_dict(): its indices are drawn again" in sampled.slow[0]
    stream = ResumableLoader(Stream())
    assert stream.caveats == ()
    assert "Stream has no state_dict(): all samples before the position are read again" in stream.slow[0]
