"""Who is drawn among loaders with weights: a generator, seeded for an epoch, and told as plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import StateError
from ckpt.loaders.seeding import derived
from ckpt.saving.capture.generators import numpy_state, plain_numpy_state
from ckpt.saving.capture.ranks import agree


class Choices:
    """Numbers in [0, 1): those of an epoch depend on a seed and on the epoch's number.

    Without a seed it is `torch.initial_seed()`, that of rank 0 on all ranks.
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._generator: np.random.RandomState | None = None

    def agree(self) -> None:
        """Settles the seed. Every rank has to call it."""
        if self.seed is None:
            self.seed = agree(torch.initial_seed())

    def begin_anew(self) -> None:
        """What is drawn next are the first numbers of an epoch."""
        self._generator = None

    @property
    def has_begun(self) -> bool:
        """Whether a number was drawn."""
        return self._generator is not None

    def draw(self, epoch: int) -> float:
        """The next number."""
        if self._generator is None:
            self.agree()
            assert self.seed is not None
            self._generator = np.random.RandomState(derived(self.seed, epoch, "choice") % 2**32)
        return float(self._generator.random_sample())

    def ahead(self) -> Callable[[], float]:
        """The numbers to come, which are drawn from a copy."""
        copy = np.random.RandomState()
        if self._generator is not None:
            copy.set_state(self._generator.get_state())
        return copy.random_sample

    def state(self) -> tuple[Any, ...] | None:
        """The generator as NumPy's tuple, of plain data; None before the first number."""
        return None if self._generator is None else plain_numpy_state(self._generator.get_state(legacy=False))

    def give(self, generator: np.random.RandomState | None, seed: int | None) -> None:
        """Goes on with a generator, and a seed where there is one."""
        self._generator = generator
        self.seed = self.seed if seed is None else seed


def generator_from(state: Any) -> np.random.RandomState | None:
    """A generator in a state, which may be NumPy's tuple or its mapping; None for none.

    Raises StateError for a damaged one.
    """
    if state is None:
        return None
    generator = np.random.RandomState()
    try:
        generator.set_state(numpy_state(state))
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise StateError(f"choice_rng of the schedule cannot be restored: {error}") from error
    return generator
