"""Data sets and models of the trainings that are killed: real data, small networks, chance wherever it can hide."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset, get_worker_info


def digits(begin: int, end: int, *, square: bool = False) -> TensorDataset:
    """scikit-learn's handwritten digits, as rows of 64 numbers or as pictures of one channel."""
    images, labels = load_digits(return_X_y=True)
    pictures = torch.tensor(images[begin:end]).float() / 16
    return TensorDataset(pictures.view(-1, 1, 8, 8) if square else pictures, torch.tensor(labels[begin:end]).long())


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Pictures that are shifted, dimmed and blurred by noise: by Python's, NumPy's and torch's generators."""

    def __init__(self, pictures: TensorDataset) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return changed(*self.pictures[index])


def changed(picture: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """A picture with random changes."""
    moved = torch.roll(picture, random.randint(-1, 1), dims=-1) * float(np.random.uniform(0.8, 1.2))
    return moved + 0.05 * torch.randn(picture.shape), label


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Stretches of a text that ships with Python, and each character's next one."""

    length = 32

    def __init__(self, begin: int, end: int) -> None:
        text = Path(argparse.__file__).read_text("utf-8")
        self.letters = sorted(set(text[:20000]))
        self.text = torch.tensor([self.letters.index(letter) for letter in text[begin:end]])

    def __len__(self) -> int:
        return (len(self.text) - self.length - 1) // 16

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        begin = index * 16
        return self.text[begin : begin + self.length], self.text[begin + 1 : begin + self.length + 1]


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Pictures one after the other, each worker its own part in an order of its own, with a place that it tells."""

    def __init__(self, pictures: TensorDataset) -> None:
        self.pictures = pictures
        self.place = 0
        self.order: list[int] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        first, each = (worker.id, worker.num_workers) if worker else (0, 1)
        if not self.place:
            self.order = list(range(first, len(self.pictures), each))
            random.shuffle(self.order)
        while self.place < len(self.order):
            self.place += 1
            yield changed(*self.pictures[self.order[self.place - 1]])
        self.place = 0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place, "order": list(self.order)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place, self.order = state["place"], list(state["order"])


def dense() -> nn.Module:
    """A network with dropout and batch normalisation."""
    return nn.Sequential(nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.3), nn.Linear(48, 10))


def convolving() -> nn.Module:
    """A small convolving network."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.ReLU(),
        nn.Dropout2d(0.1),
        nn.Flatten(),
        nn.Linear(72, 10),
    )


class Block(nn.Module):
    """Causal attention and a feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks, self.mixes = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.thinks = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.asks(self.before(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(
            query, key, value, dropout_p=0.1 if self.training else 0.0, is_causal=True
        )
        x = x + self.mixes(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.thinks(self.between(x))


class GPT(nn.Module):
    """Two layers over characters."""

    def __init__(self, letters: int, width: int = 32, length: int = Windows.length) -> None:
        super().__init__()
        self.letter, self.place = nn.Embedding(letters, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(nn.Dropout(0.1), Block(width, 2), Block(width, 2), nn.LayerNorm(width))
        self.says = nn.Linear(width, letters)

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.says(self.blocks(self.letter(text) + self.place.weight[: text.shape[1]]))
        return found
