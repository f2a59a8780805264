"""Generators that take the place of the process's for a while."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from ckpt import StateError
from ckpt.loaders.own_generators import OwnGenerators
from ckpt.saving.capture.generators import capture_random


def drawn() -> tuple[Any, ...]:
    # An odd number of normal ones: NumPy and Python hold the second of a pair back.
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()


def plain(states: dict[str, Any]) -> list[Any]:
    numpy = states["numpy_random"]
    return [states["python_random"], numpy[1].tolist(), *numpy[2:], states["torch_cpu"].tolist()]


def test_what_is_drawn_inside_is_not_drawn_outside() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    drawn()
    before = capture_random()
    own = OwnGenerators(7)
    with own:
        first = drawn()
    assert plain(capture_random()) == plain(before)
    drawn()
    with own:
        second = drawn()
    again = OwnGenerators(7)
    with again:
        assert (drawn(), drawn()) == (first, second)


@pytest.mark.parametrize("begun", [False, True])
def test_a_state_is_told_without_a_touch_of_the_processs_generators(begun: bool) -> None:
    own = OwnGenerators(2**62 + 5)
    if begun:
        with own:
            drawn()
    before = plain(capture_random())
    state = own.state()
    assert plain(capture_random()) == before
    other = OwnGenerators(3)
    other.restore(state)
    assert plain(capture_random()) == before
    with own:
        expected = drawn()
    with other:
        assert drawn() == expected
        # Asked in the midst of it, by a signal handler or another thread.
        other.state()
    assert plain(capture_random()) == before


def test_a_damaged_state_is_refused() -> None:
    state = {**OwnGenerators(1).state(), "torch_cpu": torch.zeros(3, dtype=torch.uint8)}
    with pytest.raises(StateError, match="cannot be restored"):
        OwnGenerators(1).restore(state)


def test_numbers_that_numpy_holds_back_stay_on_their_side() -> None:
    chance = random.Random(1)
    outside, inside = np.random.RandomState(5), np.random.RandomState(9)
    np.random.seed(5)
    own = OwnGenerators(9)

    def draw(generator: Any) -> None:
        for _ in range(chance.choice([0, 0, 1, 2])):
            name, *size = chance.choice([("random_sample",), ("standard_normal",), ("permutation", 700)])
            found = getattr(np.random, name)(*size)
            assert np.array_equal(found, getattr(generator, name)(*size))

    for _ in range(400):
        draw(outside)
        with own:
            draw(inside)
        if chance.random() < 0.05:
            state, own = own.state(), OwnGenerators(3)
            own.restore(state)


def test_a_bit_generator_of_another_kind_is_back_afterwards() -> None:
    numpy: Any = np.random
    before, other = numpy.get_bit_generator(), np.random.PCG64(4)
    numpy.set_bit_generator(other)
    try:
        expected = np.random.RandomState(np.random.PCG64(4)).random_sample(3)
        with OwnGenerators(1):
            drawn()
        assert numpy.get_bit_generator() is other
        assert np.array_equal(np.random.random_sample(3), expected)
    finally:
        numpy.set_bit_generator(before)
