"""NumPy's global generator, taken away and given back without copying what nobody drew from."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_random: Any = np.random  # Its types do not tell of get_bit_generator and set_bit_generator.

_STATE_BYTES = 624 * 4 + 4
"""A Mersenne Twister in memory: its words, and how many of them are used up."""


@dataclass(frozen=True)
class NumpyGlobal:
    """What NumPy's global functions draw from: a bit generator, and the half of a pair of normal numbers held back."""

    bits: Any
    seen: bytes | None
    """The bit generator's memory at that moment; None for one of another kind."""
    has_gauss: int
    gauss: float

    def give(self) -> None:
        """Has the global functions draw from this."""
        _random.set_bit_generator(self.bits)  # It forgets a number that is held back.
        if self.has_gauss:
            np.random.set_state({**self.bits.state, "has_gauss": self.has_gauss, "gauss": self.gauss})

    def state(self) -> dict[str, Any]:
        """As `numpy.random.get_state(legacy=False)` tells it."""
        return {**self.bits.state, "has_gauss": self.has_gauss, "gauss": self.gauss}


def taken(known: NumpyGlobal | None = None) -> NumpyGlobal:
    """What the global functions draw from now; `known` itself if nobody drew from it since."""
    bits = _random.get_bit_generator()
    seen = _memory(bits)
    # Whoever has a number held back could have given it without a look at the bits.
    if known is not None and known.bits is bits and seen is not None and seen == known.seen and not known.has_gauss:
        return known
    state: Mapping[str, Any] = np.random.get_state(legacy=False)
    return NumpyGlobal(bits, seen, int(state.get("has_gauss", 0)), float(state.get("gauss", 0.0)))


def made(state: Mapping[str, Any]) -> NumpyGlobal:
    """One of its own from what `numpy.random.get_state(legacy=False)` told of a Mersenne Twister."""
    bits: Any = np.random.MT19937(0)
    bits.state = {"bit_generator": "MT19937", "state": dict(state["state"])}
    return NumpyGlobal(bits, _memory(bits), int(state["has_gauss"]), float(state["gauss"]))


def _memory(bits: Any) -> bytes | None:
    if type(bits) is not np.random.MT19937:
        return None
    return ctypes.string_at(bits.ctypes.state_address, _STATE_BYTES)
