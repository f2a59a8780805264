"""Seeds of epochs, batches and workers: a function of what they are for, and never of when they are drawn."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch

_KINDS = (random.Random, np.random.RandomState, np.random.Generator, torch.Generator)


def seed_worker(worker_id: int) -> None:
    """A `worker_init_fn` for any DataLoader: seeds Python's and NumPy's generators as torch seeded its own."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


def derived(*parts: int | str) -> int:
    """A seed of 63 bits from numbers and names, the same on every machine."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def seed_generators(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's generators of this process; those of CUDA are left alone."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def generators_of(holder: Any) -> dict[str, Any]:
    """Random generators that an object holds as attributes, by their names."""
    return {name: value for name, value in getattr(holder, "__dict__", {}).items() if isinstance(value, _KINDS)}
