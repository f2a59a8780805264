"""Small data for tests of loaders, and ways to look at what loaders give."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ckpt import ResumableLoader


class Numbers(Dataset[int]):
    """Numbers from 0 on."""

    def __init__(self, count: int = 10) -> None:
        self.count = count
        self.offset = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index + self.offset


class Augmented(Numbers):
    """Numbers, each with one more from every global generator."""

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)


class Endless(IterableDataset[int]):
    """A stream without an end, which tells its state."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        step, first = (1, 0) if info is None else (info.num_workers, info.id)
        while True:
            self.at += 1
            yield (self.at - 1) * step + first

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def lists(loader: ResumableLoader) -> list[Any]:
    """The batches of an epoch."""
    return [batch.tolist() for batch in loader]


def after(count: int, loader: ResumableLoader) -> tuple[Iterator[Any], dict[str, Any]]:
    """An iterator that gave some batches, and the loader's state then."""
    iterator = iter(loader)
    for _ in range(count):
        next(iterator)
    return iterator, loader.state_dict()
