"""What a ResumableLoader does beside going on: epochs, refusals, warnings, and being a DataLoader."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    get_worker_info,
)
from torch.utils.data.datapipes.iter import IterableWrapper

from ckpt import ResumableLoader, StateError, UsageError, seed_worker


class Numbers(Dataset[int]):
    def __init__(self, count: int = 10) -> None:
        self.count = count
        self.offset = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index + self.offset


class Augmented(Numbers):
    def __getitem__(self, index: int) -> Any:
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)


class Failing(Numbers):
    fails = True

    def __getitem__(self, index: int) -> int:
        if index == 4 and self.fails:
            raise OSError("a disk is away")
        return index


class Endless(IterableDataset[int]):
    """A stream without an end, which tells its state."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        step, first = (1, 0) if info is None else (info.num_workers, info.id)
        while True:
            self.at += 1
            yield (self.at - 1) * step + first

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


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


class BeginsAnew:
    """A sampler that takes a state and begins anew all the same."""

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(10).tolist()

    def __len__(self) -> int:
        return 10

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def lists(loader: ResumableLoader) -> list[Any]:
    return [batch.tolist() for batch in loader]


def after(count: int, loader: ResumableLoader) -> tuple[Iterator[Any], dict[str, Any]]:
    """An iterator that gave some batches, and the loader's state then."""
    iterator = iter(loader)
    for _ in range(count):
        next(iterator)
    return iterator, loader.state_dict()


def test_it_is_a_dataloader() -> None:
    loader = ResumableLoader(Numbers(), batch_size=4, drop_last=True)
    assert lists(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(loader) == 2
    assert (loader.batch_size, loader.num_workers, loader.drop_last, loader.persistent_workers) == (4, 0, True, False)
    assert isinstance(loader.sampler, SequentialSampler)
    assert isinstance(loader.batch_sampler, BatchSampler)
    assert loader.generator is None
    assert len(loader.dataset) == 10
    assert loader.collate_fn([1, 2]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="mutually exclusive"):
        ResumableLoader(Numbers(), shuffle=True, sampler=[1, 2])
    assert lists(ResumableLoader(Numbers(0), batch_size=4)) == []
    with pytest.raises(ValueError, match="prefetch_factor"):
        ResumableLoader(Numbers(), prefetch_factor=2)


def test_every_epoch_is_shuffled_otherwise_and_by_the_seed_alone() -> None:
    one = ResumableLoader(Numbers(), batch_size=10, shuffle=True, seed=3)
    other = ResumableLoader(Numbers(), batch_size=10, shuffle=True, seed=3)
    first, second = lists(one), lists(one)
    assert sorted(first[0]) == sorted(second[0]) == list(range(10))
    assert first != second
    other.set_epoch(1)
    assert lists(other) == second
    assert lists(ResumableLoader(Numbers(), batch_size=10, shuffle=True, seed=4)) != first
    torch.manual_seed(3)
    assert lists(ResumableLoader(Numbers(), batch_size=10, shuffle=True)) == first
    generator = torch.Generator().manual_seed(3)
    assert lists(ResumableLoader(Numbers(), batch_size=10, shuffle=True, generator=generator)) == first


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_is_drawn_from_the_trainings_generators(workers: int) -> None:
    loaders = [
        ResumableLoader(Numbers(), batch_size=2, shuffle=True, num_workers=workers),
        ResumableLoader(Numbers(), batch_size=2, sampler=SubsetRandomSampler(range(8)), num_workers=workers),
    ]
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    for loader in loaders:
        assert len(list(loader)) == len(loader)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_loop_that_is_left_ends_the_epoch_and_an_exception_does_not() -> None:
    loader = ResumableLoader(Numbers(), batch_size=2)
    for _ in loader:
        break
    assert (loader.epoch, loader.batch_idx) == (1, 0)
    state = loader.state_dict()
    assert (state["epoch"], state["epoch_open"], state["batch_idx"], state["exhausted"]) == (1, False, 0, True)
    looking = Looking(loader)
    with pytest.raises(RuntimeError), looking:
        for at, _ in enumerate(loader):
            if at == 2:
                raise RuntimeError("out of memory")
    assert looking.states[0]["epoch_open"]
    assert (looking.states[0]["epoch"], looking.states[0]["batch_idx"]) == (1, 3)
    try:
        for at, _ in enumerate(loader):
            if at == 1:
                raise RuntimeError("out of memory")
    except RuntimeError:
        state = loader.state_dict()
        assert (state["epoch"], state["epoch_open"], state["batch_idx"]) == (2, True, 2)
    with pytest.raises(ZeroDivisionError), looking:
        train(loader)
    assert looking.states[1]["epoch_open"]
    assert looking.states[1]["batch_idx"] == 1
    for batch in loader:
        if batch.tolist() == [4, 5]:
            break
    with pytest.raises(KeyError), looking:
        raise KeyError("later")
    assert not looking.states[2]["epoch_open"]
    other = ResumableLoader(Numbers(), batch_size=2)
    other.load_state_dict(looking.states[0])
    assert lists(other) == [[6, 7], [8, 9]]


class Looking:
    """Asks a loader for its state when a block is left."""

    def __init__(self, loader: ResumableLoader) -> None:
        self.loader = loader
        self.states: list[dict[str, Any]] = []

    def __enter__(self) -> Looking:
        return self

    def __exit__(self, *error: object) -> None:
        self.states.append(self.loader.state_dict())


def train(loader: ResumableLoader) -> None:
    for batch in loader:
        print(len(batch) // 0)


def test_a_second_iteration_ends_the_first() -> None:
    loader = ResumableLoader(Numbers(), batch_size=2)
    first = iter(loader)
    next(first)
    second = iter(loader)
    assert next(second).tolist() == [0, 1]
    assert loader.epoch == 1
    assert list(first) == []
    assert loader.batch_idx == 1


def test_a_sample_that_cannot_be_read_is_read_again_after_a_resume() -> None:
    loader = ResumableLoader(Failing(), batch_size=2)
    taken = []
    with pytest.raises(OSError, match="disk is away"):
        for batch in loader:
            taken += batch.tolist()
    assert taken == [0, 1, 2, 3]
    state = loader.state_dict()
    assert (state["batch_idx"], state["epoch_open"]) == (2, True)
    whole = Failing()
    whole.fails = False
    other = ResumableLoader(whole, batch_size=2)
    other.load_state_dict(state)
    assert lists(other) == [[4, 5], [6, 7], [8, 9]]


def test_set_epoch_keeps_a_loaded_position_of_that_epoch_and_no_other() -> None:
    loader = ResumableLoader(Numbers(), batch_size=4)
    loader.set_epoch(5)
    _, state = after(1, loader)
    same, other = ResumableLoader(Numbers(), batch_size=4), ResumableLoader(Numbers(), batch_size=4)
    for made, epoch in ((same, 5), (other, 6)):
        made.load_state_dict(state)
        assert (made.epoch, made.batch_idx) == (5, 1)
        made.set_epoch(epoch)
    assert lists(same) == [[4, 5, 6, 7], [8, 9]]
    assert len(lists(other)) == 3
    assert (same.epoch, other.epoch) == (6, 7)
    with pytest.raises(StateError, match="epoch is -1"):
        loader.set_epoch(-1)


def test_the_position_is_what_was_taken_and_not_what_was_read_ahead() -> None:
    loader = ResumableLoader(Numbers(20), batch_size=2, num_workers=2, prefetch_factor=2)
    held, state = after(3, loader)
    assert (state["batch_idx"], state["sample_idx"], state["prefetched"]) == (3, 6, 4)
    assert not state["exhausted"]
    *_, last = held
    assert last.tolist() == [18, 19]


def test_a_state_at_the_last_batch_gives_nothing_and_then_the_next_epoch() -> None:
    loader = ResumableLoader(Numbers(), batch_size=5)
    held, state = after(2, loader)
    assert (state["exhausted"], state["epoch_open"], state["epoch"]) == (True, True, 0)
    other = ResumableLoader(Numbers(), batch_size=5)
    other.load_state_dict(state)
    assert lists(other) == []
    assert other.epoch == 1
    assert len(lists(other)) == 2
    assert next(held, None) is None


def test_a_loaded_state_is_told_again_before_it_is_gone_on_with() -> None:
    _, state = after(2, ResumableLoader(Numbers(), batch_size=2, shuffle=True, seed=8))
    loader = ResumableLoader(Numbers(), batch_size=2, shuffle=True, seed=1)
    loader.load_state_dict(state)
    assert loader.state_dict() == state
    assert loader.seed == 8


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
    for wrong in (None, 3, [], {}, {"epoch": 1}):
        with pytest.raises(StateError, match="the loader's state"):
            loader.load_state_dict(wrong)  # type: ignore[arg-type]
    for wrong in ("x", 1.5, True):
        with pytest.raises(StateError, match="seed"):
            ResumableLoader(Numbers(), seed=wrong)  # type: ignore[arg-type]
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


def test_a_plain_dataloader_is_taken_over() -> None:
    generator = torch.Generator().manual_seed(3)
    own = ResumableLoader.of(DataLoader(Numbers(), batch_size=3, shuffle=True, generator=generator, drop_last=True))
    assert own.resumes_by == "position"
    assert own.caveats == ()
    made = ResumableLoader(Numbers(), batch_size=3, shuffle=True, drop_last=True, seed=3)
    assert lists(own) == lists(made)
    subset = SubsetRandomSampler([1, 3, 5])
    sampled = ResumableLoader.of(DataLoader(Numbers(), batch_size=2, sampler=subset), seed=1)
    assert sampled.sampler is subset
    assert sampled.resumes_by == "skipping"
    assert "SubsetRandomSampler has no state_dict()" in sampled.caveats[0]
    assert sorted(itertools.chain(*lists(sampled))) == [1, 3, 5]
    several = ResumableLoader.of(DataLoader(Numbers(), batch_sampler=[[1, 2], [3]], num_workers=1, timeout=50))
    assert lists(several) == [[1, 2], [3]]
    replaced = ResumableLoader.of(DataLoader(Numbers(), sampler=RandomSampler(Numbers(), replacement=True)))
    assert replaced.resumes_by == "skipping"
    with pytest.raises(UsageError, match=r"not a list"):
        ResumableLoader.of([1, 2])
    with pytest.raises(UsageError, match="DataPipe"):
        ResumableLoader(IterableWrapper([1, 2]))


def test_a_sampler_that_begins_anew_is_skipped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    loader = ResumableLoader(Numbers(), batch_size=2, sampler=BeginsAnew(), seed=4)
    iterator, state = after(2, loader)
    rest = [batch.tolist() for batch in iterator]
    other = ResumableLoader(Numbers(), batch_size=2, sampler=BeginsAnew(), seed=4)
    other.load_state_dict(state)
    with caplog.at_level(logging.WARNING, logger="ckpt.saving"):
        assert lists(other) == rest
    assert "begins its epoch anew although its state was loaded" in caplog.text


def test_a_stream_without_a_state_is_read_again_with_a_warning() -> None:
    loader = ResumableLoader(Shards(), batch_size=2)
    assert loader.resumes_by == "skipping"
    assert "read again and dropped" in loader.caveats[0]
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


def place_offset(worker: int) -> None:
    """As torch's documentation configures the data set's copy in a worker."""
    info = get_worker_info()
    assert info is not None
    info.dataset.offset = 1000


def test_a_worker_init_fn_finds_the_data_set_itself() -> None:
    loader = ResumableLoader(Numbers(4), batch_size=2, num_workers=1, worker_init_fn=place_offset)
    assert lists(loader) == [[1000, 1001], [1002, 1003]]


def test_spawned_workers_go_on_exactly_too() -> None:
    def made() -> ResumableLoader:
        return ResumableLoader(
            Augmented(8), batch_size=2, shuffle=True, num_workers=1, multiprocessing_context="spawn", seed=5
        )

    iterator, state = after(2, made())
    rest = [batch.tolist() for batch in iterator]
    forked = ResumableLoader(Augmented(8), batch_size=2, shuffle=True, num_workers=2, multiprocessing_context="fork")
    forked.load_state_dict(state)
    assert lists(forked) == rest


def test_what_speaks_against_an_exact_resume_is_told() -> None:
    held = Numbers()
    held.generator = random.Random(1)  # type: ignore[attr-defined]
    assert "holds random generators of its own (generator)" in ResumableLoader(held).caveats[0]
    loose = ResumableLoader(Numbers(), num_workers=1, in_order=False)
    assert "in_order=False" in loose.caveats[0]
    assert loose.state_dict()["caveats"] == list(loose.caveats)


def test_seed_worker_seeds_python_and_numpy_by_torchs_seed() -> None:
    torch.manual_seed(2**40 + 7)
    seed_worker(0)
    first = random.random(), float(np.random.rand())
    seed_worker(3)
    assert (random.random(), float(np.random.rand())) == first
    torch.manual_seed(1)
    seed_worker(0)
    assert random.random() != first[0]


def test_the_log_tells_what_was_restored_and_advanced(caplog: pytest.LogCaptureFixture) -> None:
    _, state = after(2, ResumableLoader(Numbers(), batch_size=4))
    loader = ResumableLoader(Numbers(), batch_size=4)
    loader.load_state_dict(state)
    with caplog.at_level(logging.DEBUG, logger="ckpt.saving"):
        lists(loader)
    assert [record.message for record in caplog.records] == [
        "restored the loader: epoch 0 at batch 2, by position",
        "advanced the loader: epoch 0 is over behind batch 3",
    ]


def passed_on(loader: ResumableLoader) -> Iterator[Any]:
    """A generator between the loop and the loader, as a progress bar is one."""
    yield from loader


def test_a_generator_between_loop_and_loader_does_not_hide_how_the_loop_was_left() -> None:
    loader = ResumableLoader(Numbers(), batch_size=2)
    looking = Looking(loader)
    with pytest.raises(RuntimeError), looking:
        for batch in passed_on(loader):
            if batch.tolist() == [2, 3]:
                raise RuntimeError("out of memory")
    assert (looking.states[0]["epoch_open"], looking.states[0]["batch_idx"]) == (True, 2)
    for _ in passed_on(loader):
        break
    with pytest.raises(RuntimeError), looking:
        raise RuntimeError("in the validation")
    assert (looking.states[1]["epoch_open"], looking.states[1]["epoch"]) == (False, 2)
