"""An iterator of a loader: when its epoch begins, what an error does to it, and what another iterator does."""

from __future__ import annotations

import logging
import random
from typing import Any

import pytest
from torch.utils.data import Dataset

from ckpt import LoaderSchedule, ResumableLoader, StateError


class Failing(Dataset[int]):
    """Ten numbers; some cannot be read."""

    def __init__(self, *fails: int) -> None:
        self.fails = set(fails)

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        if index in self.fails:
            raise OSError("a disk is away")
        return index


class Drawing(Failing):
    def __getitem__(self, index: int) -> Any:
        return index + random.random()


class Refusing(Failing):
    """A data set that takes a state only once the disk is there."""

    def __init__(self) -> None:
        super().__init__()
        self.at, self.away = 0, True

    def __getitem__(self, index: int) -> int:
        self.at += 1
        return self.at

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if self.away:
            raise OSError("a disk is away")
        self.at = state["at"]


def all_that_come(loader: ResumableLoader) -> list[Any]:
    """The batches, with None for each that cannot be read."""
    found: list[Any] = []
    iterator = iter(loader)
    while True:
        try:
            found.append(next(iterator).tolist())
        except OSError:
            found.append(None)
        except StopIteration:
            return found


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_at_a_batch_does_not_end_the_epoch(workers: int) -> None:
    loader = ResumableLoader(Failing(0, 5), batch_size=2, num_workers=workers)
    assert all_that_come(loader) == [None, [2, 3], None, [6, 7], [8, 9]]
    assert loader.epoch == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_position_behind_an_error_goes_on_behind_it(workers: int) -> None:
    loader = ResumableLoader(Failing(3), batch_size=2, num_workers=workers)
    iterator = iter(loader)
    next(iterator)
    with pytest.raises(OSError, match="disk is away"):
        next(iterator)
    assert loader.state_dict()["batch_idx"] == 1
    assert next(iterator).tolist() == [4, 5]
    state = loader.state_dict()
    other = ResumableLoader(Failing(3), batch_size=2, num_workers=workers)
    other.load_state_dict(state)
    assert [batch.tolist() for batch in other] == [[6, 7], [8, 9]]
    assert (state["batch_idx"], state["sample_idx"]) == (3, 6)


def test_an_iterator_that_is_not_asked_uses_up_no_epoch() -> None:
    loader = ResumableLoader(Failing(), batch_size=5)
    assert list(zip([], loader, strict=False)) == []
    iter(loader)
    assert (loader.epoch, loader.state_dict()["epoch_open"]) == (0, False)
    assert len(list(loader)) == 2


def test_a_first_batch_that_cannot_be_read_uses_up_no_epoch_and_loses_no_position() -> None:
    loader = ResumableLoader(Failing(4), batch_size=2)
    loader.load_state_dict({"batch_idx": 2, "exhausted": False, "sampler_state": None, "dataset_state": None})
    for _ in range(2):
        with pytest.raises(OSError, match="disk is away"):
            next(iter(loader))
        assert (loader.state_dict()["batch_idx"], loader.epoch) == (2, 0)
    loader.dataset.fails.clear()
    assert [batch.tolist() for batch in loader] == [[4, 5], [6, 7], [8, 9]]


def test_a_state_that_was_refused_is_not_lost() -> None:
    made = ResumableLoader(Refusing(), batch_size=2)
    iterator = iter(made)
    next(iterator)
    state = made.state_dict()
    data = Refusing()
    loader = ResumableLoader(data, batch_size=2)
    loader.load_state_dict(state)
    with pytest.raises(StateError, match="disk is away"):
        next(iter(loader))
    assert loader.state_dict() == state
    data.away = False
    assert next(iter(loader)).tolist() == [3, 4]


def test_an_epoch_that_was_given_up_draws_nothing_more() -> None:
    loader = ResumableLoader(Drawing(), batch_size=2)
    state: dict[str, Any] = {}
    taken = []
    for batch in loader:
        taken.append(batch)
        if len(taken) == 2:
            state = loader.state_dict()
        if len(taken) == 4:
            loader.load_state_dict(state)
            random.seed(5)
            before = random.getstate()
    assert len(taken) == 4
    assert random.getstate() == before
    assert loader.batch_idx == 2


@pytest.mark.parametrize("noun", ["loader", "schedule"])
def test_loops_within_each_other_over_one_loader_are_warned_of(noun: str, caplog: pytest.LogCaptureFixture) -> None:
    loader: Any = ResumableLoader(Failing(), batch_size=5)
    loader = LoaderSchedule([loader]) if noun == "schedule" else loader
    with caplog.at_level(logging.WARNING, logger="ckpt.saving"):
        for _ in loader:
            break
        list(loader)
        assert caplog.text == ""
        for _ in loader:
            list(loader)
    assert f"another iterator of the same {noun} begins; give each loop a {noun} of its own" in caplog.text


def test_a_closed_iterator_gives_nothing_more_and_its_epoch_is_over() -> None:
    loader = ResumableLoader(Failing(), batch_size=5)
    iterator: Any = iter(loader)
    next(iterator)
    iterator.close()
    assert next(iterator, None) is None
    assert loader.epoch == 1
