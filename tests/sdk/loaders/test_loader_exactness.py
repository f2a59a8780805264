"""A loader that is thrown away at any batch and made anew gives what the uninterrupted one gives, bit for bit.

The training draws from the global generators between batches, and so do data sets and collate functions.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)
from torch.utils.data.distributed import DistributedSampler

from ckpt import ResumableLoader
from ckpt.saving.capture.generators import capture_random, restore_random
from ckpt.saving.envelope.plain import from_plain, to_plain

COUNT = 11
EPOCHS = 3


def drawn() -> list[float]:
    """One number from each of the global generators."""
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def collated(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(samples) + torch.tensor([*drawn(), 0.0], dtype=torch.float64)


class Samples(Dataset[torch.Tensor]):
    """Samples with augmentation from all three global generators."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([*drawn(), float(index)], dtype=torch.float64)


class CountingSamples(Samples):
    """Samples that depend on how many the data set gave."""

    def __init__(self) -> None:
        self.given = 0

    def __getitem__(self, index: int) -> torch.Tensor:
        self.given += 1
        return super().__getitem__(index) + 1000 * self.given

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.given = state["given"]


def shard(count: int = COUNT) -> list[int]:
    """Numbers of this worker: the first has few of them, the second many, the third none."""
    info = get_worker_info()
    if info is None or info.num_workers == 1:
        return list(range(count))
    return [list(range(3)), list(range(3, count)), []][info.id]


class PlainStream(IterableDataset[torch.Tensor]):
    """A stream without a state."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        numbers = shard()
        random.shuffle(numbers)
        for number in numbers:
            yield torch.tensor([*drawn(), float(number)], dtype=torch.float64)


class Stream(IterableDataset[torch.Tensor]):
    """A stream that tells its state, and counts its passes."""

    def __init__(self) -> None:
        self.position = 0
        self.passes = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        numbers = shard()
        random.Random(self.passes).shuffle(numbers)
        while self.position < len(numbers):
            self.position += 1
            yield torch.tensor([*drawn(), float(numbers[self.position - 1] + 100 * self.passes)], dtype=torch.float64)
        self.position = 0
        self.passes += 1

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position, "passes": self.passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position, self.passes = state["position"], state["passes"]


class Walk:
    """An iterator with a state."""

    def __init__(self, epoch: int) -> None:
        self.numbers = shard()
        random.Random(epoch).shuffle(self.numbers)
        self.position = 0

    def __iter__(self) -> Walk:
        return self

    def __next__(self) -> torch.Tensor:
        if self.position >= len(self.numbers):
            raise StopIteration
        self.position += 1
        return torch.tensor([*drawn(), float(self.numbers[self.position - 1])], dtype=torch.float64)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class WalkedStream(IterableDataset[torch.Tensor]):
    """A stream whose iterator tells the state, and which wants to know the epoch."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Walk:
        return Walk(self.epoch)


class EveryDraw(Sampler[list[int]]):
    """A batch sampler that draws from the global generators for every batch, and has no state."""

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(4):
            yield [random.randrange(COUNT), int(np.random.randint(COUNT)), int(torch.randint(COUNT, ()))]

    def __len__(self) -> int:
        return 4


class Remembering(Sampler[int]):
    """A sampler with a state, which draws its order from the global generators."""

    def __init__(self, *, begins_anew: bool = False) -> None:
        self.order: list[int] = []
        self.position = 0
        self.begins_anew = begins_anew

    def __len__(self) -> int:
        return COUNT

    def __iter__(self) -> Iterator[int]:
        if self.begins_anew or not self.order:
            self.order, self.position = torch.randperm(COUNT).tolist(), 0
        while self.position < COUNT:
            self.position += 1
            yield self.order[self.position - 1]
        self.order, self.position = [], 0

    def state_dict(self) -> dict[str, Any]:
        return {"order": list(self.order), "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.position = list(state["order"]), state["position"]


class Steps:
    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> int:
        if self.at == COUNT:
            raise StopIteration
        self.at += 1
        return (self.at * 7) % COUNT

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


class Stepping(Sampler[int]):
    """A sampler whose iterator has the state."""

    def __iter__(self) -> Iterator[int]:
        return Steps()

    def __len__(self) -> int:
        return COUNT


def seeded() -> torch.Generator:
    generator = torch.Generator()
    generator.manual_seed(5)
    return generator


def samples(**arguments: Any) -> Callable[[], ResumableLoader]:
    arguments = {"batch_size": 3, "collate_fn": collated, **arguments}
    made = {name: value for name, value in arguments.items() if name != "sampler" and name != "dataset"}
    dataset, sampler = arguments.get("dataset", Samples), arguments.get("sampler")
    if "batch_sampler" in made:
        del made["batch_size"]
        batch_sampler = made.pop("batch_sampler")
        return lambda: ResumableLoader(dataset(), batch_sampler=batch_sampler(), **made)
    return lambda: ResumableLoader(dataset(), sampler=None if sampler is None else sampler(), **made)


def numbered(sample: torch.Tensor) -> torch.Tensor:
    return sample + torch.tensor([*drawn(), 0.0], dtype=torch.float64)


LOADERS: dict[str, Callable[[], ResumableLoader]] = {
    "sequential": samples(),
    "shuffled": samples(shuffle=True),
    "generator": lambda: samples(shuffle=True, generator=seeded())(),
    "drop last": samples(shuffle=True, drop_last=True),
    "no batches": samples(shuffle=True, batch_size=None, collate_fn=numbered),
    "counting": samples(shuffle=True, dataset=CountingSamples),
    "random sampler": samples(sampler=lambda: RandomSampler(range(COUNT))),
    "sampler with generator": samples(sampler=lambda: RandomSampler(range(COUNT), generator=seeded())),
    "replacement": samples(sampler=lambda: RandomSampler(range(COUNT), replacement=True, num_samples=14)),
    "weighted": samples(sampler=lambda: WeightedRandomSampler([1.0, 2.0] * 5, 8)),
    "subset": samples(sampler=lambda: SubsetRandomSampler(range(0, COUNT, 2))),
    "distributed": samples(sampler=lambda: DistributedSampler(range(COUNT), num_replicas=2, rank=1)),
    "batch sampler": samples(batch_sampler=lambda: BatchSampler(SequentialSampler(range(9)), 2, False)),
    "every draw": samples(batch_sampler=EveryDraw),
    "remembering": samples(sampler=Remembering),
    "stepping": samples(sampler=Stepping),
    "stepping, no batches": samples(sampler=Stepping, batch_size=None, collate_fn=numbered),
    "stream": samples(dataset=Stream),
    "stream, drop last": samples(dataset=Stream, drop_last=True),
    "stream, no batches": samples(dataset=Stream, batch_size=None, collate_fn=numbered),
    "walked stream": samples(dataset=WalkedStream),
    "plain stream": samples(dataset=PlainStream),
    "2 workers": samples(shuffle=True, num_workers=2),
    "2 workers, persistent": samples(shuffle=True, num_workers=2, persistent_workers=True, prefetch_factor=3),
    "3 workers, remembering": samples(sampler=Remembering, num_workers=3),
    "2 workers, stepping": samples(sampler=Stepping, num_workers=2),
    "2 workers, every draw": samples(batch_sampler=EveryDraw, num_workers=2),
    "2 workers, counting": samples(dataset=CountingSamples, num_workers=2),
    "2 workers, counting, persistent": samples(dataset=CountingSamples, num_workers=2, persistent_workers=True),
    "3 workers, stream": samples(dataset=Stream, num_workers=3, batch_size=2),
    "3 workers, stream, persistent": samples(dataset=Stream, num_workers=3, persistent_workers=True),
    "2 workers, stream, rarely told": samples(dataset=Stream, num_workers=2, batch_size=2, snapshot_every_n_batches=3),
    "2 workers, walked stream": samples(dataset=WalkedStream, num_workers=2, persistent_workers=True),
    "3 workers, plain stream": samples(dataset=PlainStream, num_workers=3),
}


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.filterwarnings("ignore:the PlainStream tells no state:RuntimeWarning")
@pytest.mark.parametrize("name", LOADERS)
def test_every_cut_goes_on_as_if_it_had_not_been(name: str) -> None:
    make = LOADERS[name]
    seed_all(1)
    loader = make()
    given: list[torch.Tensor] = []
    cuts: list[tuple[int, bytes, dict[str, Any]]] = []
    for epoch in range(EPOCHS):
        if epoch == 1:
            cuts.append((len(given), stored(loader), capture_random()))
            # So a training that is saved in its validation tells of the loader of its own batches.
            over = {"epoch": 0, "exhausted": True, "epoch_open": True}
            at_its_end = (len(given), stored(loader, **over), capture_random())
        for batch in loader:
            given.append(batch)
            drawn()
            # In the last epoch there is nothing new to see.
            if epoch < EPOCHS - 1:
                cuts.append((len(given), stored(loader), capture_random()))
    assert len({batch.sum().item() for batch in given}) == len(given)
    if loader.num_workers:
        # Workers take their time to start: every second cut.
        cuts = cuts[::2]

    for taken, state, generators in [*cuts, at_its_end]:
        seed_all(99)
        loader = make()
        loader.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
        restore_random(generators)
        rest: list[torch.Tensor] = []
        until = min(EPOCHS, loader.epoch + 2)
        while loader.epoch < until:
            for batch in loader:
                rest.append(batch)
                drawn()
        assert rest, taken
        expected = given[taken : taken + len(rest)]
        for at, (one, other) in enumerate(zip(rest, expected, strict=True)):
            assert torch.equal(one, other), f"cut behind {taken} batches, batch {at} behind it: {one} for {other}"
        if until == EPOCHS:
            assert taken + len(rest) == len(given)


def stored(loader: ResumableLoader, **other: Any) -> bytes:
    """A loader's state, as a checkpoint has it."""
    state = {**loader.state_dict(), **other}
    assert from_plain(to_plain(state, "loader")) is not None
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
