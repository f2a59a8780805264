"""Seeds of epochs, batches and workers: a function of what they are for, and never of when they are drawn."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_worker(worker_id: int) -> None:
    """A `worker_init_fn` for any DataLoader: seeds Python's and NumPy's generators as torch seeded its own."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
