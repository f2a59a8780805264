"""Data for bench_resuming.py: handwritten digits over and over, by index and as streams, and loaders of three kinds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, get_worker_info

from ckpt import ResumableLoader

BATCH = 32
KINDS = ("torch", "torchdata", "ours")

Sample = tuple[Tensor, Tensor]


class Digits(Dataset[Sample]):
    """So many samples by index."""

    def __init__(self, length: int) -> None:
        images, labels = load_digits(return_X_y=True)
        self.images, self.labels = torch.tensor(images).float(), torch.tensor(labels)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.images[index % 1797], self.labels[index % 1797]


class Stream(IterableDataset[Sample]):
    """The same one after the other, shared out among the workers."""

    def __init__(self, length: int) -> None:
        self.digits = Digits(length)
        self.place = 0

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        first, each = (worker.id, worker.num_workers) if worker else (0, 1)
        while self.place * each + first < len(self.digits):
            self.place += 1
            yield self.digits[(self.place - 1) * each + first]
        self.place = 0


class StatefulStream(Stream):
    """One that tells its place."""

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


class StatefulSampler(Sampler[int]):
    """A random order that tells its place."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0
        self.place = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        while self.place < self.length:
            self.place += 1
            yield order[self.place - 1]
        self.epoch, self.place = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.place = state["epoch"], state["place"]


def random_sampler(kind: str, data: Digits) -> Any:
    """Torch's RandomSampler; for torchdata its own, which has a state."""
    if kind == "torchdata":
        from torchdata.stateful_dataloader.sampler import RandomSampler as Stateful

        return Stateful(data)
    return RandomSampler(data)


def loader_of(kind: str, data: Any, **options: Any) -> Any:
    """A loader of batches of 32."""
    if kind == "torchdata":
        from torchdata.stateful_dataloader import StatefulDataLoader

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return StatefulDataLoader(data, batch_size=BATCH, **options)
    return {"torch": DataLoader, "ours": ResumableLoader}[kind](data, batch_size=BATCH, **options)
