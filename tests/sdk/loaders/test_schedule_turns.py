"""Who is next, when an epoch is over, what is refused, and what a schedule tells of itself."""

from __future__ import annotations

import itertools
import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import ckpt
from ckpt.exceptions import StateError, UsageError


class Endless:
    def __iter__(self) -> Iterator[int]:
        return itertools.count()


class Unsized:
    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.length))


def order(*args: Any, loaders: Any = None, **options: Any) -> str:
    loaders = loaders or {"a": range(2), "b": range(4), "c": range(3)}
    given = ckpt.LoaderSchedule(loaders, *args, **options)
    return "".join(f"{name}{batch}" for name, batch in itertools.islice(given, 14))


@pytest.mark.parametrize(
    ("strategy", "length", "expected"),
    [
        ("round_robin", "shortest", "a0b0c0a1b1c1"),
        ("round_robin", "longest", "a0b0c0a1b1c1a0b2c2a1b3"),
        ("round_robin", "once", "a0b0c0a1b1c1b2c2b3"),
        ("round_robin", "infinite", "a0b0c0a1b1c1a0b2c2a1b3c0a0b0"),
        ("round_robin", 4, "a0b0c0a1"),
        ("sequential", "shortest", "a0a1b0b1c0c1"),
        ("sequential", "longest", "a0a1a0a1b0b1b2b3c0c1c2c0"),
        ("sequential", "once", "a0a1b0b1b2b3c0c1c2"),
        ("sequential", "infinite", "a0a1b0b1b2b3c0c1c2a0a1b0b1b2"),
        ("sequential", 3, "a0a1b0"),
        ("alternating", "shortest", "b0a0b1c0b2a1b3c1"),
        ("alternating", "longest", "b0a0b1c0b2a1b3c1b0a0b1c2"),
        ("alternating", "once", "b0a0b1c0b2a1b3c1c2"),
        ("alternating", "infinite", "b0a0b1c0b2a1b3c1b0a0b1c2b2a1"),
        ("alternating", 5, "b0a0b1c0b2"),
    ],
)
def test_who_is_next_and_when_an_epoch_is_over(strategy: str, length: Any, expected: str) -> None:
    options = {"pattern": ["b", "a", "b", "c"]} if strategy == "alternating" else {}
    assert order(strategy, length, **options) == expected
    given = ckpt.LoaderSchedule({"a": range(2), "b": range(4), "c": range(3)}, strategy, length, **options)
    if length == "infinite":
        with pytest.raises(TypeError):
            len(given)
    else:
        assert len(given) == len(expected) // 2


def test_the_end_of_a_loader_without_a_length_is_found_by_asking() -> None:
    unsized = {"a": Unsized(2), "b": Unsized(4), "c": Unsized(3)}
    assert order("round_robin", "shortest", loaders=unsized) == "a0b0c0a1b1c1"
    assert order("round_robin", "longest", loaders=unsized) == "a0b0c0a1b1c1a0b2c2a1b3c0a0"
    assert order("sequential", "once", loaders=unsized) == "a0a1b0b1b2b3c0c1c2"


def test_weights_decide_how_often_each_is_drawn() -> None:
    given = ckpt.LoaderSchedule([range(9), range(9), range(9)], "weighted", 4000, weights=[3, 0, 1], seed=1)
    names = [name for name, _ in given]
    assert names.count(1) == 0
    assert 0.72 < names.count(0) / len(names) < 0.78
    once = ckpt.LoaderSchedule([range(9), range(9), range(9)], "weighted", "once", weights=[3, 0, 1], seed=1)
    assert sorted(once) == sorted([(0, i) for i in range(9)] + [(2, i) for i in range(9)])
    assert len(once) == 18


def test_an_epoch_s_choices_depend_on_the_seed_and_its_number_alone() -> None:
    def epochs(given: ckpt.LoaderSchedule, leave: bool) -> list[Any]:
        for _ in given:
            if leave:
                break
        return list(given)

    def fresh() -> ckpt.LoaderSchedule:
        return ckpt.LoaderSchedule([range(30), range(30)], "weighted", "once", seed=5)

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert epochs(fresh(), leave=True) == epochs(fresh(), leave=False)
    assert torch.equal(torch.get_rng_state(), before)
    jumped = fresh()
    jumped.set_epoch(1)
    assert list(jumped) == epochs(fresh(), leave=False) != list(fresh())


def test_endless_data_gives_epochs_of_a_number_of_batches() -> None:
    """Regression: an endless iterable with a fixed number of steps ended in an OverflowError."""
    given = ckpt.LoaderSchedule({"a": Endless(), "b": range(2)}, "round_robin", 3)
    assert list(given) == [("a", 0), ("b", 0), ("a", 1)]
    assert list(given) == [("b", 1), ("a", 2), ("b", 0)]
    assert (given.epoch, len(given), given.state_dict()["total_batches"]) == (2, 3, 6)


@pytest.mark.parametrize(
    ("strategy", "length"),
    list(itertools.product(["sequential", "round_robin", "weighted"], ["longest", "once", "infinite", 5])),
)
def test_an_empty_loader_is_an_error_and_no_endless_loop(strategy: str, length: Any) -> None:
    given = ckpt.LoaderSchedule({"a": [], "b": [1]}, strategy, length, seed=0)
    with pytest.raises(UsageError, match="loader 'a' gave no batch"):
        list(itertools.islice(given, 50))


def test_an_iterator_that_cannot_begin_anew_is_told_of() -> None:
    given = ckpt.LoaderSchedule([iter([1, 2]), range(9)], "round_robin", "infinite")
    with pytest.raises(UsageError, match="only once"):
        list(itertools.islice(given, 50))


@pytest.mark.parametrize(
    ("args", "options", "told"),
    [
        (("round-robin",), {}, "did you mean round_robin"),
        (("round_robin", "longst"), {}, "did you mean longest"),
        (("round_robin", 0), {}, "at least one batch"),
        (("round_robin", True), {}, "epoch_length is True"),
        (("weighted",), {"weights": [1, -1]}, "loader 'b' is -1.0"),
        (("weighted",), {"weights": [1, math.nan]}, "loader 'b' is nan"),
        (("weighted",), {"weights": [0, 0]}, "no loader could be drawn"),
        (("weighted",), {"weights": [1]}, "1 weights were given for 2 loaders: a, b"),
        (("weighted",), {"weights": {"a": 1, "c": 2}}, "weights are for a, c, and the loaders are a, b"),
        (("round_robin",), {"weights": [1, 1]}, 'strategy="weighted"'),
        (("alternating",), {"pattern": ["a", "bb", "b"]}, "did you mean b"),
        (("alternating",), {"pattern": ["a"]}, "loader 'b' has no turn"),
        (("alternating",), {"pattern": "ab"}, "has to be a list of loaders"),
    ],
)
def test_what_means_no_order_is_refused(args: Any, options: Any, told: str) -> None:
    with pytest.raises(UsageError) as error:
        ckpt.LoaderSchedule({"a": [1], "b": [2]}, *args, **options)
    assert told in str(error.value)


def test_loaders_that_are_none_are_refused() -> None:
    for loaders, told in (([], "at least one"), (DataLoader([1]), "not several loaders"), ([3], "cannot be iterated")):
        with pytest.raises(UsageError, match=told):
            ckpt.LoaderSchedule(loaders)  # type: ignore[arg-type]


def test_a_missing_length_is_told_where_it_is_needed() -> None:
    given = ckpt.LoaderSchedule({"a": [1], "b": Unsized(3)}, "sequential", "shortest")
    with pytest.raises(UsageError, match="loader 'b' does not tell its length"):
        next(iter(given))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda: ckpt.LoaderSchedule({"a": [1], "b": [2]}, "weighted", "once"), "strategy round_robin"),
        (
            lambda: ckpt.LoaderSchedule({"a": [1], "c": [2]}, "round_robin", "once"),
            "loaders a, b, and is built with a, c",
        ),
        (lambda: ckpt.LoaderSchedule({"a": [1]}, "round_robin", "once"), "loaders a, b, and is built with a"),
        (lambda: ckpt.LoaderSchedule({"a": [1], "b": [2]}, "round_robin", 3), "epoch_length once, and is built with 3"),
    ],
)
def test_a_state_of_another_schedule_is_refused_with_both(other: Any, told: str) -> None:
    state = ckpt.LoaderSchedule({"a": [1], "b": [2]}, "round_robin", "once").state_dict()
    with pytest.raises(StateError, match=told):
        other().load_state_dict(state)


def test_other_weights_and_damage_are_refused() -> None:
    given = ckpt.LoaderSchedule([[1], [2]], "weighted", weights=[1, 2])
    with pytest.raises(StateError, match=r"weights 1.0, 2.0, and is built with 2.0, 1.0"):
        ckpt.LoaderSchedule([[1], [2]], "weighted", weights=[2, 1]).load_state_dict(given.state_dict())
    for key, value in {"schedule_position": -1, "turn": "x", "given": [1], "choice_rng": ("MT19937", 3)}.items():
        with pytest.raises(StateError, match=f"{key} of the schedule"):
            given.load_state_dict({**given.state_dict(), key: value})
    with pytest.raises(StateError, match="no loader_states"):
        given.load_state_dict({"batch_idx": 3})


def test_the_logger_tells_once_an_epoch_and_not_once_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ckpt.saving")
    given = ckpt.LoaderSchedule({"a": range(500)}, "round_robin", "once")
    list(given)
    assert "scheduled epoch 0" in caplog.text
    assert "epoch 0 of the schedule is over after 500 batches" in caplog.text
    again = ckpt.LoaderSchedule({"a": range(500)}, "round_robin", "once")
    again.load_state_dict(given.state_dict())
    assert "restored the schedule" in caplog.text
    assert len(caplog.records) < 10


RANKS = """
import os, sys, torch, torch.distributed as dist, ckpt
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(rank)
given = ckpt.LoaderSchedule([range(20), range(20)], "weighted", "once")
print([name for name, _ in given])
dist.destroy_process_group()
"""


def test_all_ranks_have_one_order(tmp_path: Any) -> None:
    meeting = str(tmp_path / "meeting")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANKS, str(rank), meeting], stdout=subprocess.PIPE, env=env)
        for rank in range(2)
    ]
    told = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert told[0] == told[1] != b""


HELD = """
import ckpt
batches = iter(ckpt.LoaderSchedule({"a": ckpt.ResumableLoader(list(range(8)), batch_size=2)}, "sequential"))
next(batches)
"""


def test_an_iterator_that_is_held_when_python_ends_is_no_error() -> None:
    ended = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("epoch", ["x", -3, True, 1.0])
def test_what_is_no_epoch_is_refused_and_changes_nothing(epoch: Any) -> None:
    given = ckpt.LoaderSchedule({"a": ckpt.ResumableLoader([1, 2, 3])})
    batches = iter(given)
    next(batches)
    with pytest.raises(StateError, match="epoch is"):
        given.set_epoch(epoch)
    assert (given.epoch, given.batch_idx, len(list(batches))) == (0, 1, 2)


def test_a_seed_is_a_whole_number() -> None:
    with pytest.raises(StateError, match="seed is 'x'"):
        ckpt.LoaderSchedule([[1]], "weighted", seed="x")  # type: ignore[arg-type]


def test_between_epochs_the_next_one_is_told_at_its_beginning() -> None:
    given = ckpt.LoaderSchedule({"a": [1, 2], "b": [3]}, "round_robin", "once")
    list(given)
    state = given.state_dict()
    assert (given.epoch, given.batch_idx) == (state["epoch"], state["batch_idx"]) == (1, 0)
    assert (state["epoch_open"], state["exhausted"], state["total_batches"]) == (False, True, 3)
    again = ckpt.LoaderSchedule({"a": [1, 2], "b": [3]}, "round_robin", "once")
    again.load_state_dict(state)
    assert (again.epoch, again.batch_idx) == (1, 0)


def test_an_epoch_that_was_begun_anew_still_tells_its_beginning() -> None:
    """Regression: of two resumes at the beginning of a validation, the second one went on in its midst."""

    def build() -> ckpt.LoaderSchedule:
        return ckpt.LoaderSchedule({"a": ckpt.ResumableLoader([1, 2, 3, 4])}, seed=3)

    state = build().state_dict()
    for _ in range(3):
        given = build()
        given.load_state_dict(state)
        assert next(iter(given))[1].item() == 1
        state = given.state_dict()["at_start"]
        assert state is not None


class Refuses:
    """A data set that has one sample which cannot be read."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:
        if index == 2:
            raise ValueError("no sample 2")
        return index


def test_an_error_at_one_batch_does_not_end_the_epoch() -> None:
    given = iter(ckpt.LoaderSchedule([ckpt.ResumableLoader(Refuses(), batch_size=None)], "sequential"))
    found: list[Any] = []
    for _ in range(5):
        try:
            found.append(next(given)[1])
        except ValueError:
            found.append("error")
    assert found == [0, 1, "error", 3, 4]
    with pytest.raises(StopIteration):
        next(given)


def test_an_iterator_that_gave_nothing_is_no_epoch() -> None:
    given = ckpt.LoaderSchedule([[1, 2]])
    assert list(zip([], given, strict=False)) == []
    iter(given)
    assert (given.epoch, [batch for _, batch in given]) == (0, [1, 2])
