"""A loader goes on from a position in its own data, and refuses others."""

from __future__ import annotations

import logging

import pytest
from torch.utils.data.distributed import DistributedSampler

from ckpt import ResumableLoader, StateError
from loader_data import Augmented, Endless, Numbers, after, lists


def test_another_batch_size_goes_on_at_the_same_sample() -> None:
    _, state = after(2, ResumableLoader(Numbers(20), batch_size=3))
    loader = ResumableLoader(Numbers(20), batch_size=4)
    with pytest.warns(RuntimeWarning, match="batch_size was 3, and is 4"):
        loader.load_state_dict(state)
    iterator = iter(loader)
    assert next(iterator).tolist() == [6, 7, 8, 9]
    again = ResumableLoader(Numbers(20), batch_size=4)
    again.load_state_dict(loader.state_dict())
    assert lists(again) == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19]]


def test_more_workers_give_the_same_augmentation() -> None:
    loaders = [ResumableLoader(Augmented(), batch_size=2, num_workers=workers, seed=3) for workers in (1, 2)]
    one, two = ([batch.tolist() for batch in loader] for loader in loaders)
    assert one == two
    _, state = after(2, ResumableLoader(Augmented(), batch_size=2, num_workers=1, seed=3))
    fewer = ResumableLoader(Augmented(), batch_size=2, num_workers=2)
    fewer.load_state_dict(state)
    assert lists(fewer) == one[2:]
    none = ResumableLoader(Augmented(), batch_size=2)
    with pytest.warns(RuntimeWarning, match="num_workers was 1, and is 0"):
        none.load_state_dict(state)


def test_a_position_in_other_data_is_refused_and_changes_nothing() -> None:
    _, state = after(2, ResumableLoader(Numbers(), batch_size=2, shuffle=True, seed=3))
    for other, sentence in (
        (ResumableLoader(Numbers(11), batch_size=2, shuffle=True), "had 10 samples, and has 11"),
        (ResumableLoader(Numbers(), batch_size=2), "was 'shuffled', and is 'sequential'"),
        (ResumableLoader(Endless(), batch_size=2), "was 'shuffled', and is 'iterable'"),
    ):
        before = other.state_dict()
        with pytest.raises(StateError, match=sentence):
            other.load_state_dict(state)
        assert other.state_dict() == before
    _, state = after(3, ResumableLoader(Endless(), batch_size=2))
    with pytest.raises(StateError, match="read by 0 workers, each with a state, and num_workers is 2"):
        ResumableLoader(Endless(), batch_size=2, num_workers=2).load_state_dict(state)


def test_ranks_that_all_read_the_same_are_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    loader = ResumableLoader(Numbers(), shuffle=True)
    with caplog.at_level(logging.WARNING, logger="ckpt.saving"):
        for _ in range(2):
            assert len(lists(loader)) == 10
    (record,) = caplog.records
    assert "2 processes train together, and the loader of each reads the whole data set" in record.message
    caplog.clear()
    lists(ResumableLoader(Numbers(), sampler=DistributedSampler(Numbers(), num_replicas=2, rank=0)))
    assert not caplog.records
