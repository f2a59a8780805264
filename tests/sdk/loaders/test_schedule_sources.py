"""Loaders of every kind in a schedule: streams, workers, torchdata's; left in the midst of a pass, and gone on with."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import RandomSampler

import ckpt
from ckpt.exceptions import StateError

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
BATCHES = 18


def noise() -> tuple[int, int, int]:
    return int(torch.randint(1 << 30, ())), int(np.random.randint(1 << 30)), random.randrange(1 << 30)


class Noisy(Dataset[Any]):
    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[int, ...]:
        return (self.start + index, *noise())


class Stream(IterableDataset[Any]):
    """Samples one after the other, without a state."""

    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length

    def __iter__(self) -> Iterator[Any]:
        for place in range(self.length):
            yield (self.start + place, *noise())


class StatefulStream(Stream):
    """The same with a state, which goes over from pass to pass."""

    def __init__(self, start: int, length: int) -> None:
        super().__init__(start, length)
        self.place, self.passes, self.resumed = 0, 0, False

    def __iter__(self) -> Iterator[Any]:
        if not self.resumed:
            self.place = 0
            self.passes += 1
        self.resumed = False
        while self.place < self.length:
            self.place += 1
            yield (self.start + self.place, self.passes, *noise())

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place, "passes": self.passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place, self.passes, self.resumed = state["place"], state["passes"], True


def torchdata(start: int, length: int) -> Any:
    data = Noisy(start, length * 2)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(start))
    return StatefulDataLoader(data, batch_size=2, sampler=sampler)


KINDS: dict[str, Callable[[int, int], Any]] = {
    "torchdata": torchdata,
    "torchdata stream": lambda start, length: StatefulDataLoader(StatefulStream(start, length * 2), batch_size=2),
    "stream": lambda start, length: ckpt.ResumableLoader(Stream(start, length * 2), batch_size=2),
    "stateful stream": lambda start, length: ckpt.ResumableLoader(StatefulStream(start, length * 2), batch_size=2),
}
ORDERS = [
    ("round_robin", "shortest"),
    ("round_robin", "longest"),
    ("round_robin", "once"),
    ("weighted", "infinite"),
    ("alternating", "shortest"),
    ("sequential", "once"),
    ("sequential", 5),
]


def schedule(make: Callable[[int, int], Any], strategy: str, length: Any) -> ckpt.LoaderSchedule:
    loaders = {name: make(100 * (i + 1), size) for i, (name, size) in enumerate(zip("abc", (2, 4, 3), strict=True))}
    return ckpt.LoaderSchedule(loaders, strategy, length, seed=7)


def numbers(batch: Any) -> Any:
    return [item.tolist() for item in batch]


def steps(loader: ckpt.LoaderSchedule) -> Iterator[Any]:
    while loader.epoch < 3:
        for name, batch in loader:
            yield loader.epoch, name, numbers(batch), torch.rand(()).item()


Saved = tuple[Any, Any, Any, Any]


def save(loader: ckpt.LoaderSchedule) -> Saved:
    return loader.state_dict(), random.getstate(), np.random.get_state(), torch.get_rng_state()


def load(saved: Saved, loader: ckpt.LoaderSchedule) -> None:
    loader.load_state_dict(saved[0])
    random.setstate(saved[1])
    np.random.set_state(saved[2])
    torch.set_rng_state(saved[3])


def walk(loader: ckpt.LoaderSchedule, batches: int = BATCHES) -> tuple[list[Any], list[Saved]]:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    given, saved = [], [save(loader)]
    for step in itertools.islice(steps(loader), batches):
        given.append(step)
        saved.append(save(loader))
    return given, saved


@pytest.mark.filterwarnings("ignore:the Stream tells no state:RuntimeWarning")
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(("strategy", "length"), ORDERS)
def test_every_cut_goes_on_as_if_it_had_not_been(kind: str, strategy: str, length: Any) -> None:
    given, saved = walk(schedule(KINDS[kind], strategy, length))
    for cut, state in enumerate(saved):
        again = schedule(KINDS[kind], strategy, length)
        load(state, again)
        assert list(itertools.islice(steps(again), len(given) - cut)) == given[cut:], f"cut after {cut} batches"


def with_workers(start: int, length: int) -> Any:
    data = Noisy(start, length * 2)
    return ckpt.ResumableLoader(data, batch_size=2, shuffle=True, num_workers=1, seed=start)


@pytest.mark.parametrize(("strategy", "length"), [("round_robin", "longest"), ("weighted", 5)])
def test_loaders_with_workers_go_on_exactly(strategy: str, length: Any) -> None:
    given, saved = walk(schedule(with_workers, strategy, length), 10)
    for cut in (2, 6, 9):
        again = schedule(with_workers, strategy, length)
        load(saved[cut], again)
        assert list(itertools.islice(steps(again), len(given) - cut)) == given[cut:], f"cut after {cut} batches"


def test_torchdata_with_workers_or_a_generator_of_its_own_says_what_is_not_exact() -> None:
    def caveats(**options: Any) -> str:
        return " ".join(ckpt.LoaderSchedule([StatefulDataLoader(Noisy(0, 4), **options)]).caveats)

    assert caveats() == ""
    assert "the workers of a StatefulDataLoader" in caveats(num_workers=1)
    assert "generator of its own" in caveats(generator=torch.Generator())


@pytest.mark.filterwarnings("ignore:loader 'b' is a list, which tells no state:RuntimeWarning")
@pytest.mark.parametrize("other", [ckpt.ResumableLoader(list(range(90)), batch_size=2), [1, 2, 3]])
def test_a_state_that_one_loader_refuses_leaves_all_of_them_where_they_are(other: Any) -> None:
    def build(length: int) -> ckpt.LoaderSchedule:
        loaders = {
            "a": ckpt.ResumableLoader(list(range(80)), batch_size=2),
            "b": other,
            "c": ckpt.ResumableLoader(list(range(length)), batch_size=2),
        }
        return ckpt.LoaderSchedule(loaders, "round_robin", "infinite")

    given, left = build(70), build(60)
    list(itertools.islice(left, 9))
    bad = left.state_dict()
    batches = iter(given)
    expected = [(name, str(batch)) for name, batch in itertools.islice(iter(build(70)), 12)]
    assert [(name, str(batch)) for name, batch in itertools.islice(batches, 4)] == expected[:4]
    with pytest.raises(StateError, match="60 samples"):
        given.load_state_dict(bad)
    assert given.batch_idx == 4
    assert [(name, str(batch)) for name, batch in itertools.islice(batches, 8)] == expected[4:]
