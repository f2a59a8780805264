"""States that no loader told are refused by the name of what is wrong, and change nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from ckpt import ResumableLoader, StateError
from loader_data import Endless, Numbers, after, lists


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_idx": -1}, "batch_idx is '-1'"),
        ({"batch_idx": True}, "batch_idx is 'True'"),
        ({"batch_idx": "many"}, "batch_idx is 'many'"),
        ({"exhausted": 1}, "exhausted is '1'"),
        ({"epoch": 1.5}, "epoch is '1.5'"),
        ({"epoch_open": None}, "epoch_open is 'None'"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"version": 9}, "version 9"),
        ({"version": "1"}, "version is '1'"),
        ({"readers": 3}, "readers is '3'"),
        ({"readers": [{"batches": 1, "since": 2}]}, "since is '2'"),
        ({"readers": [{"of": "me"}]}, "of is 'me'"),
        ({"sampler_state": 4}, "sampler_state is '4'"),
        ({"next_reader": 7, "readers": [{}]}, "next_reader is 7"),
        ({"sampler_state": {"$ndarray": 3}}, "cannot be read"),
        ({"epoch": 2**70}, "epoch is .* from 0 to"),
        ({"batch_idx": 2**63}, "batch_idx is"),
        ({"batch_idx": 2**62}, "batch_idx is 4611686018427387904, more than the 2 samples"),
        ({"sample_idx": 10**30}, "sample_idx is"),
        ({"sample_idx": 10}, "sample_idx is 10 of 10"),
        ({"sample_idx": None, "batch_idx": 6}, "at batch 6, and the data set has only 10"),
        ({"readers": [{"batches": 10**30}]}, r"readers\[0\].batches is"),
        ({"readers": [{"batches": 9, "since": 9}]}, "its readers gave more batches than the 1"),
        ({"readers": [{"batches": 1, "exhausted": True}]}, "all its readers are at their end"),
    ],
)
def test_a_damaged_state_is_refused_by_name(change: dict[str, Any], sentence: str) -> None:
    loader = ResumableLoader(Numbers(), batch_size=2, seed=3)
    state = {**after(1, ResumableLoader(Numbers(), batch_size=2, seed=3))[1], **change}
    before = loader.state_dict()
    with pytest.raises(StateError, match=sentence):
        loader.load_state_dict(state)
    assert loader.state_dict() == before


def test_what_is_no_state_is_refused() -> None:
    loader = ResumableLoader(Numbers())
    states: list[Any] = [None, 3, [], {}, {"epoch": 1}]
    for state in states:
        with pytest.raises(StateError, match="the loader's state"):
            loader.load_state_dict(state)
    seeds: list[Any] = ["x", 1.5, True]
    for seed in seeds:
        with pytest.raises(StateError, match="seed"):
            ResumableLoader(Numbers(), seed=seed)
    with pytest.raises(StateError, match="snapshot_every_n_batches is 0"):
        ResumableLoader(Numbers(), snapshot_every_n_batches=0)


def test_the_four_documented_keys_are_enough() -> None:
    loader = ResumableLoader(Numbers(), batch_size=4)
    loader.load_state_dict({"batch_idx": 2, "exhausted": False, "sampler_state": None, "dataset_state": None})
    assert lists(loader) == [[8, 9]]
    loader.load_state_dict({"batch_idx": 3, "exhausted": True, "sampler_state": None, "dataset_state": None})
    assert lists(loader) == []
    assert len(lists(loader)) == 3
    stream = ResumableLoader(Endless(), batch_size=2)
    stream.load_state_dict({"batch_idx": 2, "exhausted": False, "sampler_state": None, "dataset_state": {"at": 4}})
    assert next(iter(stream)).tolist() == [4, 5]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pending": 3}, "sampler_state.pending is '3'"),
        ({"drawn": math.nan}, "sampler_state.drawn is 'nan'"),
        ({"ended": "x"}, "sampler_state.ended is 'x'"),
        ({"ended": True}, "its sampler is at its end"),
        ({"at_start": "x"}, "sampler_state.at_start is 'x'"),
        ({"generators": 3}, "sampler_state.generators is '3'"),
        ({"generators": {"python_random": 3}}, "sampler_state.generators: the random states cannot be restored"),
    ],
)
def test_a_damaged_state_of_a_sampler_is_refused_by_name(change: dict[str, Any], sentence: str) -> None:
    state = after(1, ResumableLoader(Numbers(), batch_size=2, sampler=Steps()))[1]
    state["sampler_state"] = {**state["sampler_state"], **change}
    with pytest.raises(StateError, match=sentence):
        ResumableLoader(Numbers(), batch_size=2, sampler=Steps()).load_state_dict(state)


class Steps:
    """A sampler with a state."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        while self.at < 10:
            self.at += 1
            yield self.at - 1
        self.at = 0

    def __len__(self) -> int:
        return 10

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]
