"""The generator that chooses among loaders: seeded for an epoch, and told as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckpt.exceptions import StateError
from ckpt.loaders.seeding import derived
from ckpt.saving.capture.generators import numpy_state, plain_numpy_state


def choices_for(seed: int, epoch: int) -> np.random.RandomState:
    """The generator of an epoch."""
    return np.random.RandomState(derived(seed, epoch, "choice") % 2**32)


def choices_state(generator: np.random.RandomState | None) -> tuple[Any, ...] | None:
    """Its state as NumPy's tuple, of plain data; None for none."""
    return None if generator is None else plain_numpy_state(generator.get_state(legacy=False))


def choices_from(state: Any) -> np.random.RandomState | None:
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
