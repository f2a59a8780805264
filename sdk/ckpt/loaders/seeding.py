"""Seeds of epochs, batches and workers: a function of what they are for, and never of when they are drawn."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
import torch

from ckpt.saving.capture.generators import capture_random, prove_random

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


def rank() -> int:
    """Which process of a distributed training this is; 0 when it is none."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    told = os.environ.get("RANK", "")
    return int(told) if told.isdecimal() else 0


class OwnGenerators:
    """Random generators of somebody's own: within the context, the process's generators are these.

    What is drawn inside is not drawn from the training's generators, and the other way round. `None` begins with those
    that the process has.
    """

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._states: _States | None = None
        self._outside: _States | None = None

    def __enter__(self) -> None:
        self._outside = _taken()
        if self._states is not None:
            _give(self._states)
        elif self._seed is not None:
            seed_generators(self._seed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._states = _taken()
        if self._outside is not None:
            _give(self._outside)
            self._outside = None

    def state(self) -> dict[str, Any]:
        """The states as `capture_random` tells those of the process, without CUDA's."""
        with self:
            return {name: state for name, state in capture_random().items() if name != "torch_cuda"}

    def restore(self, states: Mapping[str, Any]) -> None:
        """Goes on from states that `state` told. Raises StateError for damaged ones."""
        proven = prove_random({name: state for name, state in states.items() if name != "torch_cuda"})
        with self:
            proven.set()


_States = tuple[Any, Any, torch.Tensor]


def _taken() -> _States:
    return random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()


def _give(states: _States) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
