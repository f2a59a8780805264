"""A schedule that is cut at any batch goes on as if it had not been, for every strategy and every epoch length."""

from __future__ import annotations

import io
import itertools
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import ckpt
from ckpt.loaders.schedules.arguments import turns_of
from ckpt.loaders.schedules.strategies import LENGTHS, STRATEGIES

torch.set_num_threads(1)

EPOCHS = 3
LONGEST_RUN = 18
"""Batches that are looked at of an order without an end."""


class Noisy(Dataset[Any]):
    """Samples with random numbers from all three generators in them, as augmentation has."""

    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[int, int, int, int]:
        noise = torch.randint(1 << 30, ()).item(), np.random.randint(1 << 30), random.randrange(1 << 30)
        return (self.start + index, *(int(number) for number in noise))


class Walk:
    """A loader that shuffles by a generator of its own, and tells its state in its own words."""

    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length
        self.passes, self.place, self.resumed = 0, 0, False

    def __iter__(self) -> Iterator[int]:
        if not self.resumed:
            self.place = 0
            self.passes += 1
        self.resumed = False
        order = np.random.RandomState(self.passes).permutation(self.length)
        while self.place < self.length:
            self.place += 1
            yield int(self.start + order[self.place - 1])

    def state_dict(self) -> dict[str, int]:
        return {"passes": self.passes, "place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.passes, self.place, self.resumed = state["passes"], state["place"], True


class SizedWalk(Walk):
    def __len__(self) -> int:
        return self.length


def resumable(start: int, length: int) -> Any:
    return ckpt.ResumableLoader(Noisy(start, length * 2), batch_size=2, shuffle=True, seed=start)


def plain(start: int, length: int) -> Any:
    return DataLoader(Noisy(start, length * 2), batch_size=2, shuffle=True)


def plain_with_a_generator(start: int, length: int) -> Any:
    generator = torch.Generator().manual_seed(start)
    return DataLoader(Noisy(start, length * 2), batch_size=2, shuffle=True, generator=generator)


def nested(start: int, length: int) -> Any:
    return ckpt.LoaderSchedule(
        [resumable(start, length - 1), SizedWalk(start + 50, 1)], "weighted", "once", weights=[2, 1], seed=start
    )


KINDS: dict[str, Callable[[int, int], Any]] = {
    "resumable": resumable,
    "stateful": SizedWalk,
    "stateful without a length": Walk,
    "plain": plain,
    "plain with a generator": plain_with_a_generator,
    "nested": nested,
}
ALL_LENGTHS: tuple[Any, ...] = (*LENGTHS, 5)
WITHOUT_WARNING = pytest.mark.filterwarnings("ignore:loader .* tells no state:RuntimeWarning")


def schedule(kind: str, strategy: str, length: Any, sizes: tuple[int, ...] = (2, 4, 3)) -> ckpt.LoaderSchedule:
    loaders = {name: KINDS[kind](100 * i, size) for i, (name, size) in enumerate(zip("abc", sizes, strict=False))}
    return ckpt.LoaderSchedule(
        loaders,
        strategy,
        length,
        weights=[0.5, 2, 1] if strategy == "weighted" else None,
        pattern=["b", "a", "b", "c"] if strategy == "alternating" else None,
        seed=7,
    )


def combinations() -> Iterator[Any]:
    for kind, strategy, length in itertools.product(KINDS, STRATEGIES, ALL_LENGTHS):
        if kind == "stateful without a length" and turns_of("abc", strategy, length).needs_lengths:
            continue
        yield pytest.param(kind, strategy, length, id=f"{kind}-{strategy}-{length}")


def seed() -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)


Saved = tuple[Any, Any, Any, bytes]


def save(loader: ckpt.LoaderSchedule) -> Saved:
    """All that a checkpoint holds of a training that is only data."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), pickle.dumps(loader.state_dict())


def load(saved: Saved, loader: ckpt.LoaderSchedule) -> None:
    loader.load_state_dict(pickle.loads(saved[3]))
    random.setstate(saved[0])
    np.random.set_state(saved[1])
    torch.set_rng_state(saved[2])


def numbers(batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.tolist()
    return [numbers(item) for item in batch] if isinstance(batch, list | tuple) else batch


def steps(loader: ckpt.LoaderSchedule) -> Iterator[tuple[int, Any, Any]]:
    """A training's batches over all epochs; between them it draws random numbers itself, as dropout does."""
    while loader.epoch < EPOCHS:
        for name, batch in loader:
            yield loader.epoch, name, (numbers(batch), torch.rand(()).item())


def cuts(loader: ckpt.LoaderSchedule) -> tuple[list[Any], list[Saved]]:
    """All batches, and what was saved after each."""
    seed()
    given, saved = [], [save(loader)]
    for step in itertools.islice(steps(loader), LONGEST_RUN):
        given.append(step)
        saved.append(save(loader))
    return given, saved


@WITHOUT_WARNING
@pytest.mark.parametrize(("kind", "strategy", "length"), list(combinations()))
def test_every_cut_goes_on_as_if_it_had_not_been(kind: str, strategy: str, length: Any) -> None:
    given, saved = cuts(schedule(kind, strategy, length))
    assert len(given) >= 3
    for cut, state in enumerate(saved):
        torch.manual_seed(cut)
        again = schedule(kind, strategy, length)
        load(state, again)
        rest = list(itertools.islice(steps(again), len(given) - cut))
        assert rest == given[cut:], f"cut after {cut} batches"


@WITHOUT_WARNING
@pytest.mark.parametrize("kind", list(KINDS))
def test_the_state_is_plain_data(kind: str) -> None:
    given, saved = cuts(schedule(kind, "weighted", 5))
    file = io.BytesIO()
    torch.save(pickle.loads(saved[4][3]), file)
    file.seek(0)
    again = schedule(kind, "weighted", 5)
    load((*saved[4][:3], pickle.dumps(torch.load(file, weights_only=True))), again)
    assert list(itertools.islice(steps(again), len(given) - 4)) == given[4:]
