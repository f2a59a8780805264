"""Batches that loaders give, as a self-test hears of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from ckpt import ResumableLoader
from ckpt.selftest.dataloaders import heard, listen


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What loaders tell, as long as this test goes on."""
    for kind in (DataLoader, ResumableLoader):
        monkeypatch.setattr(kind, "__iter__", kind.__iter__)
    batches: list[Any] = []
    tell = batches.append
    listen(tell)
    listen(tell)
    yield batches
    listen.cache_clear()


@pytest.mark.parametrize("kind", [DataLoader, ResumableLoader])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_every_batch_is_told_once_and_as_the_training_has_it(told: list[Any], kind: Any, num_workers: int) -> None:
    given = list(kind(torch.arange(6), batch_size=2, num_workers=num_workers))
    assert [batch.tolist() for batch in told] == [batch.tolist() for batch in given] == [[0, 1], [2, 3], [4, 5]]


def test_a_batch_that_is_not_asked_for_is_not_told(told: list[Any]) -> None:
    for _ in ResumableLoader(torch.arange(6), batch_size=2):
        break
    assert [batch.tolist() for batch in told] == [[0, 1]]


def test_an_iterator_goes_on_behind_an_error_as_it_would() -> None:
    class Fails:
        def __init__(self) -> None:
            self.count = 0

        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            self.count += 1
            if self.count == 2:
                raise ValueError("damaged")
            return self.count

    batches: list[Any] = []
    found = heard(lambda loader: loader, batches.append)(Fails())
    assert next(found) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(found)
    assert next(found) == 3 and batches == [1, 3] and found.count == 3  # type: ignore[attr-defined]


def test_a_loop_over_a_loader_that_is_left_closes_the_loader() -> None:
    closed = []

    def batches(loader: object) -> Iterator[int]:
        try:
            yield from range(3)
        finally:
            closed.append(True)

    for _ in heard(batches, lambda batch: None)(None):
        break
    assert closed == [True]
