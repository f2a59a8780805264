"""What reads the data, in a worker or in the training's own process: data sets behind numbered tasks.

The inner DataLoader takes a served data set for a map-style one whose indices are tasks. A task tells the worker all
that it needs, so nothing has to be kept in workers between epochs, and an answer tells the training's process what the
reader's state is behind that batch.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils.data import get_worker_info

from ckpt.exceptions import StateError
from ckpt.loaders.own_generators import OwnGenerators
from ckpt.loaders.positions import ReaderState
from ckpt.loaders.seeding import derived, seed_generators
from ckpt.saving.capture.protocol import has_state


class Start(NamedTuple):
    """The first task of an epoch tells a reader this."""

    epoch: int
    seed: int
    """From which the seeds of the reader's batches are derived."""
    resumed: ReaderState | None
    """Where it was; None at the beginning."""
    continues: bool = False
    """Whether the state is of this epoch, and not of the end of the one before."""


class Task(NamedTuple):
    """One batch to read."""

    index: Any = None
    seed: int | None = None
    start: Start | None = None
    passes: bool = False
    """Nothing is read: it is the turn of a worker behind this one."""
    number: int | None = None
    """Which batch of the epoch it is, where the order says that."""


class Told(NamedTuple):
    """What a reader tells with an answer."""

    worker: int
    given: bool
    """Whether there is a batch in the answer."""
    exhausted: bool = False
    of: str | None = None
    state: bytes | None = None
    """Pickled, so that it stays as it was; None when it was not taken behind this batch."""
    number: int | None = None
    """That of the task."""


@dataclass(frozen=True)
class Reading:
    """How samples become batches; what `torch.utils.data.DataLoader` takes by these names."""

    collate_fn: Callable[[Any], Any]
    batch_size: int | None
    drop_last: bool
    batched: bool
    """Whether an index is a batch of indices."""
    snapshot_every_n_batches: int = 1


class ServedSamples:
    """A map-style data set read in the training's own process, with the training's random generators."""

    def __init__(self, dataset: Any, reading: Reading) -> None:
        self.dataset = dataset
        self._collate = reading.collate_fn
        many = getattr(dataset, "__getitems__", None)
        self._one = not reading.batched
        self._many = many if callable(many) else None

    def __getitem__(self, index: Any) -> Any:
        if self._one:
            return self._collate(self.dataset[index])
        if self._many is not None:
            return self._collate(self._many(index))
        dataset = self.dataset
        return self._collate([dataset[i] for i in index])


class ServedByWorkers:
    """A map-style data set read in workers, whose random generators are seeded for every batch."""

    def __init__(self, dataset: Any, reading: Reading, *, stateful: bool) -> None:
        self.dataset = dataset
        self._samples = ServedSamples(dataset, reading)
        self._stateful = stateful
        self._kept = Kept(dataset)

    def __getitem__(self, task: Task) -> tuple[Any, Told]:
        if task.start is not None:
            begin_epoch(self.dataset, task.start.epoch)
            self._kept.begin(task.start.resumed)
        if task.passes:
            return None, Told(_worker(), given=False)
        if task.seed is not None:
            seed_generators(task.seed)
        batch = self._samples[task.index]
        of, state = ("dataset", pickle.dumps(self.dataset.state_dict())) if self._stateful else (None, None)
        return batch, Told(_worker(), given=True, of=of, state=state, number=task.number)


class Kept:
    """A worker's copy of a data set, which has a state or not, at the beginnings of epochs.

    A worker reads ahead. Where the training left an epoch early, its next one begins with the state behind the last
    batch that it took, as it would in a worker that is started after a resume.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._at_start: bytes | None = None
        """The state that the epoch before began with."""

    def begin(self, resumed: ReaderState | None) -> None:
        """Gives the data set the state to begin with: the one told, else that of the last beginning."""
        if resumed is not None and resumed.of == "dataset":
            give(self._dataset, resumed.state)
        elif self._at_start is not None:
            give(self._dataset, pickle.loads(self._at_start))  # noqa: S301
        if has_state(self._dataset):
            self._at_start = pickle.dumps(self._dataset.state_dict())


class ServedStream:
    """An iterable data set, read in a worker or in the training's own process.

    The random generators are seeded for every batch, but for one that tells its state to the training's own process:
    that draws from the training's.
    """

    def __init__(self, dataset: Any, reading: Reading, *, in_worker: bool) -> None:
        self.dataset = dataset
        self._reading = reading
        self._in_worker = in_worker
        self._kept = Kept(dataset)
        self._iterator: Iterator[Any] = iter(())
        self._seed = 0
        self._given = 0
        self._ended = False
        self._again = False

    def __getitem__(self, task: Task) -> tuple[Any, Told]:
        if task.start is not None:
            self._begin(task.start)
        worker = _worker()
        if task.passes or self._ended:
            return None, Told(worker, given=False, exhausted=self._ended, of=self.state_is_of())
        samples = self._read()
        given = samples is not _NOTHING
        batch = self._reading.collate_fn(samples) if given else None
        state, of = None, self.state_is_of()
        due = self._ended or self._given % self._reading.snapshot_every_n_batches == 0
        if self._in_worker and of is not None and due:
            state = pickle.dumps(self.state())
        return batch, Told(worker, given=given, exhausted=self._ended, of=of, state=state)

    @property
    def has_ended(self) -> bool:
        """Whether the data set was found to have no more samples."""
        return self._ended

    def state_is_of(self) -> str | None:
        """Who tells the state: "iterator", "dataset" or None."""
        if has_state(self._iterator):
            return "iterator"
        return "dataset" if has_state(self.dataset) else None

    def state(self) -> Any:
        """The state behind the batch that was read last; None when nobody tells one."""
        of = self.state_is_of()
        holder: Any = self._iterator if of == "iterator" else self.dataset
        return None if of is None else copy.deepcopy(holder.state_dict())

    def _begin(self, start: Start) -> None:
        resumed = start.resumed
        self._seed = start.seed
        self._given = 0
        self._ended = False
        self._again = False
        begin_epoch(self.dataset, start.epoch)
        if resumed is not None and start.continues:
            self._go_on(resumed)
            return
        if self._in_worker:
            self._kept.begin(resumed)
        elif resumed is not None and resumed.of == "dataset":
            self._give(resumed)
        self._again = resumed is not None and resumed.of == "dataset"
        self._open()

    def _go_on(self, resumed: ReaderState) -> None:
        if self._in_worker:
            self._kept.begin(resumed)
        elif resumed.of == "dataset":
            self._give(resumed)
        if resumed.exhausted:
            # Its state is for the next epoch.
            self._ended = True
            return
        self._again = resumed.of == "dataset" and resumed.carried
        self._open()
        if resumed.of == "iterator":
            give(self._iterator, resumed.state)
        self._given = resumed.batches - resumed.since
        # The training's own generators are as they were behind the last batch, and stay so.
        with OwnGenerators(None):
            for done in range(resumed.since):
                if self._read() is _NOTHING:
                    raise StateError(
                        f"{resumed.since} batches of the {type(self.dataset).__name__} were to be read again, and it "
                        f"has only {done}",
                        hint="go on with the data of the checkpoint, or leave the loader's state out",
                    )

    def _give(self, resumed: ReaderState) -> None:
        give(self.dataset, resumed.state)
        if not resumed.left:
            return
        with OwnGenerators(None):
            behind = self._behind_one()
            again = self._behind_one()
            give(self.dataset, pickle.loads(behind))  # noqa: S301
            goes_on = self._behind_one() == again
            give(self.dataset, resumed.state)
            if not goes_on:
                # It begins anew with each iterator but the first behind a loaded state: that one is dropped.
                next(iter(self.dataset), None)

    def _behind_one(self) -> bytes:
        """The data set's state behind one sample of a new iterator."""
        next(iter(self.dataset), None)
        return pickle.dumps(self.dataset.state_dict())

    def _open(self) -> None:
        with OwnGenerators(derived(self._seed, "begin")):
            self._iterator = iter(self.dataset)

    def _seeded(self) -> AbstractContextManager[None]:
        """Where the next batch is drawn: in generators seeded for it, or in the training's own."""
        seed = derived(self._seed, self._given)
        if self._in_worker:
            seed_generators(seed)
            return nullcontext()
        return nullcontext() if self.state_is_of() is not None else OwnGenerators(seed)

    def _read(self) -> Any:
        if self._ended:
            return _NOTHING
        size = self._reading.batch_size
        try:
            with self._seeded():
                samples = self._next() if size is None else self._several(size)
        except StopIteration:
            self._ended = True
            return _NOTHING
        self._given += 1
        return samples

    def _next(self) -> Any:
        again, self._again = self._again, False
        try:
            return next(self._iterator)
        except StopIteration:
            if not again:
                raise
        # A data set that was given the state of its end asks to be begun once more, as one that came there itself.
        self._iterator = iter(self.dataset)
        return next(self._iterator)

    def _several(self, size: int) -> list[Any]:
        samples: list[Any] = []
        for _ in range(size):
            try:
                samples.append(self._next())
            except StopIteration:
                self._ended = True
                break
        if not samples or (self._reading.drop_last and len(samples) < size):
            raise StopIteration
        return samples


class WorkerStart:
    """The inner DataLoader's `worker_init_fn`: the user's, who finds the data set itself in `get_worker_info()`."""

    def __init__(self, init: Callable[[int], None] | None) -> None:
        self._init = init

    def __call__(self, worker: int) -> None:
        info: Any = get_worker_info()
        # WorkerInfo refuses to be changed, and what `worker_init_fn` sets up is the data set and not what serves it.
        object.__setattr__(info, "dataset", info.dataset.dataset)
        if self._init is not None:
            self._init(worker)


def begin_epoch(dataset: Any, epoch: int) -> None:
    """Tells a data set the epoch, if it wants to know."""
    set_epoch = getattr(dataset, "set_epoch", None)
    if callable(set_epoch):
        set_epoch(epoch)


def give(holder: Any, state: Any) -> None:
    """Gives a data set or its iterator a state. Raises StateError for one that it does not take."""
    load = getattr(holder, "load_state_dict", None)
    if not callable(load):
        raise StateError(
            f"dataset_state: the {type(holder).__name__} has no load_state_dict()",
            hint="give the loader the data set that was saved",
        )
    try:
        load(copy.deepcopy(state))
    except Exception as error:
        raise StateError(
            f"dataset_state: the {type(holder).__name__} does not take it: {error}",
            hint="give the loader the data set that was saved",
        ) from error


def as_it_is(answer: Any) -> Any:
    """The inner DataLoader's `collate_fn`: the batch is collated already."""
    return answer


def _worker() -> int:
    info = get_worker_info()
    return 0 if info is None else info.id


_NOTHING = object()
