"""Iterable data sets behind a ResumableLoader, with a state and without."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    get_worker_info,
)

from ckpt import ResumableLoader, StateError
from loader_data import Endless, after, lists


class Shards(IterableDataset[int]):
    """A stream without a state, of another length in every worker."""

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        worker = 0 if info is None else info.id
        return iter(range(100 * worker, 100 * worker + (2, 7, 0)[worker]))

    def __len__(self) -> int:
        return 9


class Streaming(IterableDataset[int]):
    """A stream as Hugging Face's: its epoch is set, and a loaded state counts for the next pass of that epoch alone."""

    def __init__(self) -> None:
        self.epoch = 0
        self.state = {"epoch": 0, "at": 0}
        self.starting: dict[str, int] | None = None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = list(range(7))
        random.Random(self.epoch).shuffle(order)
        self.state = {"epoch": self.epoch, "at": 0}
        if self.starting is not None and self.starting["epoch"] == self.epoch:
            self.state = dict(self.starting)
        for number in order[self.state["at"] :]:
            self.state["at"] += 1
            yield number

    def state_dict(self) -> dict[str, int]:
        return dict(self.state)

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.starting = dict(state)


def test_a_stream_without_a_state_is_read_again_with_a_warning() -> None:
    loader = ResumableLoader(Shards(), batch_size=2)
    assert loader.resumes_by == "skipping"
    assert "read again and dropped" in loader.slow[0]
    iterator, state = after(1, ResumableLoader(Shards(), batch_size=1))
    rest = [batch.tolist() for batch in iterator]
    other = ResumableLoader(Shards(), batch_size=1)
    other.load_state_dict(state)
    with pytest.warns(RuntimeWarning, match=r"1 batches are read and dropped .* state_dict\(\)"):
        assert lists(other) == rest


@pytest.mark.parametrize("workers", [0, 2])
def test_an_endless_stream_goes_on_where_it_was(workers: int) -> None:
    iterator, state = after(5, ResumableLoader(Endless(), batch_size=3, num_workers=workers))
    expected = [next(iterator).tolist() for _ in range(4)]
    loader = ResumableLoader(Endless(), batch_size=3, num_workers=workers)
    loader.load_state_dict(state)
    assert [batch.tolist() for batch in itertools.islice(loader, 4)] == expected
    assert not state["exhausted"]
    with pytest.raises(TypeError):
        len(loader)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.filterwarnings("ignore:Length of IterableDataset:UserWarning")
def test_uneven_shards_come_in_the_order_of_torchs_own_loader() -> None:
    ours = ResumableLoader(Shards(), batch_size=2, num_workers=3)
    assert len(ours) == 5
    assert lists(ours) == [batch.tolist() for batch in DataLoader(Shards(), batch_size=2, num_workers=3)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_that_wants_to_know_the_epoch(workers: int) -> None:
    def made() -> ResumableLoader:
        return ResumableLoader(Streaming(), batch_size=2, num_workers=workers)

    loader = made()
    first = lists(loader)
    iterator, state = after(2, loader)
    rest = [batch.tolist() for batch in iterator]
    between = loader.state_dict()
    third = lists(loader)
    assert first != third
    other = made()
    other.load_state_dict(state)
    assert lists(other) == rest
    assert lists(other) == third
    other = made()
    other.load_state_dict(between)
    assert lists(other) == third


class Buffered(IterableDataset[int]):
    """A stream without a state, shuffled in a buffer by torch's global generator."""

    def __iter__(self) -> Iterator[int]:
        buffer: list[int] = []
        for number in range(24):
            buffer.append(number)
            if len(buffer) > 6:
                yield buffer.pop(int(torch.randint(len(buffer), ())))
        yield from buffer


@pytest.mark.filterwarnings("ignore:the Buffered tells no state:RuntimeWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_shuffled_stream_beside_a_training_that_draws_too(workers: int) -> None:
    torch.manual_seed(1)
    loader = ResumableLoader(Buffered(), batch_size=2, num_workers=workers)
    given = []
    for batch in loader:
        given.append(batch.tolist())
        torch.rand(3)
        if len(given) == 5:
            state, drawn = loader.state_dict(), torch.get_rng_state()
    torch.manual_seed(7)
    other = ResumableLoader(Buffered(), batch_size=2, num_workers=workers)
    other.load_state_dict(state)
    torch.set_rng_state(drawn)
    rest = []
    for batch in other:
        rest.append(batch.tolist())
        torch.rand(3)
    assert rest == given[5:]
    assert sorted(itertools.chain(*given)) == list(range(24))


class StatefulNumbers(Dataset[int]):
    """Samples that depend on how many were given."""

    def __init__(self) -> None:
        self.given = 0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> int:
        self.given += 1
        return index + 100 * self.given

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.given = state["given"]


@pytest.mark.parametrize("taken", [1, 2, 3])
@pytest.mark.parametrize("dataset", [Endless, StatefulNumbers])
def test_workers_that_live_on_forget_what_they_read_ahead_of_a_break(dataset: Any, taken: int) -> None:
    def made() -> ResumableLoader:
        return ResumableLoader(dataset(), batch_size=2, num_workers=2, persistent_workers=True)

    loader = made()
    for _ in range(2):
        for at, _ in enumerate(loader, 1):
            if at == taken:
                break
    other = made()
    other.load_state_dict(loader.state_dict())
    expected = [batch.tolist() for batch in itertools.islice(loader, 5)]
    assert [batch.tolist() for batch in itertools.islice(other, 5)] == expected


def test_an_endless_stream_that_was_left_goes_on_behind_what_was_taken() -> None:
    loader = ResumableLoader(Endless(), batch_size=2)
    for _ in itertools.islice(loader, 2):
        pass
    other = ResumableLoader(Endless(), batch_size=2)
    other.load_state_dict({**loader.state_dict()})
    for _ in range(2):
        assert next(iter(other)).tolist() == next(iter(loader)).tolist()


class Shorter(IterableDataset[int]):
    """A stream without a state, which lost samples since the checkpoint."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


@pytest.mark.filterwarnings("ignore:the Shorter tells no state:RuntimeWarning")
def test_a_stream_that_has_less_than_was_read_is_an_error_and_no_empty_epoch() -> None:
    _, state = after(5, ResumableLoader(Shorter(10)))
    loader = ResumableLoader(Shorter(3))
    loader.load_state_dict(state)
    with pytest.raises(StateError, match="5 batches of the Shorter were to be read again, and it has only 3"):
        next(iter(loader))
