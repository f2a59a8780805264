"""Random generators of somebody's own, which take the place of the process's for a while."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch

from ckpt.loaders import numpy_global
from ckpt.loaders.numpy_global import NumpyGlobal
from ckpt.saving.capture.generators import plain_numpy_state, prove_random


class _States(NamedTuple):
    python: Any
    numpy: NumpyGlobal
    torch: torch.Tensor


class OwnGenerators:
    """Random generators of somebody's own: within the context, the process's generators are these.

    What is drawn inside is not drawn from the training's generators, and the other way round. `None` begins with those
    that the process has.
    """

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._own: _States | None = None
        self._outside: _States | None = None
        self._known: NumpyGlobal | None = None
        """NumPy's outside, as it was known last."""

    def __enter__(self) -> None:
        own = self._own = self._kept()
        self._known = numpy_global.taken(self._known)
        self._outside = _States(random.getstate(), self._known, torch.get_rng_state())
        _give(own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        known = None if self._own is None else self._own.numpy
        self._own = _States(random.getstate(), numpy_global.taken(known), torch.get_rng_state())
        if self._outside is not None:
            _give(self._outside)
            self._outside = None

    def state(self) -> dict[str, Any]:
        """The states as `capture_random` tells those of the process, without CUDA's.

        The process's generators are not touched: this may be asked by a signal handler, or by another thread.
        """
        kept = self._kept()
        return {
            "python_random": kept.python,
            "numpy_random": plain_numpy_state(kept.numpy.state()),
            "torch_cpu": kept.torch,
        }

    def restore(self, states: Mapping[str, Any]) -> None:
        """Goes on from states that `state` told. Raises StateError for damaged ones."""
        proven = prove_random({name: state for name, state in states.items() if name != "torch_cuda"}).states
        kept = self._kept()
        numpy = kept.numpy
        if "numpy_random" in proven:
            generator = np.random.RandomState(0)
            generator.set_state(proven["numpy_random"])
            numpy = numpy_global.made(generator.get_state(legacy=False))
        self._own = _States(proven.get("python_random", kept.python), numpy, proven.get("torch_cpu", kept.torch))

    def _kept(self) -> _States:
        """The states as they were when the context was left last, or are at first."""
        if self._own is not None:
            return self._own
        if self._seed is not None:
            return _seeded(self._seed)
        numpy = numpy_global.made(np.random.get_state(legacy=False))
        return _States(random.getstate(), numpy, torch.get_rng_state())


def _seeded(seed: int) -> _States:
    """What `seed_generators` makes of the process's generators."""
    numpy = np.random.RandomState(seed % 2**32).get_state(legacy=False)
    return _States(
        random.Random(seed).getstate(), numpy_global.made(numpy), torch.Generator().manual_seed(seed).get_state()
    )


def _give(states: _States) -> None:
    random.setstate(states.python)
    states.numpy.give()
    torch.set_rng_state(states.torch)
