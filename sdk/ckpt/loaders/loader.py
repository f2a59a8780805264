"""ResumableLoader: torch's DataLoader with a position."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch.utils.data import DataLoader, IterableDataset

from ckpt.exceptions import StateError, UsageError
from ckpt.loaders.arguments import Arguments
from ckpt.loaders.caveats import caveats_of, slow_of
from ckpt.loaders.epochs import Epochs
from ckpt.loaders.fitting import refuse_other
from ckpt.loaders.iteration import END
from ckpt.loaders.positions import Position, ReaderState
from ckpt.loaders.proving import position_of
from ckpt.loaders.reading.epoch import SampleEpoch, StreamEpoch
from ckpt.loaders.reading.inner import Feed, inner_loader, refuse_pipes, seed_workers
from ckpt.loaders.reading.readers import plain_states
from ckpt.loaders.reading.samples import SampleSource
from ckpt.loaders.reading.serving import Reading, begin_epoch
from ckpt.loaders.reading.source import Source
from ckpt.loaders.reading.streams import StreamSource
from ckpt.saving.capture.generators import capture_random

log = logging.getLogger("ckpt.saving")

_OF_THIS_PROCESS = ("_source", "_feed", "_inner", "_under_way", "_loop", "_unasked", "_before", "_carried")
"""Attributes that a copy of a loader does not have from it."""


class Begun(NamedTuple):
    """What the batches of an epoch are taken of."""

    epoch: SampleEpoch | StreamEpoch
    answers: Iterator[Any]
    """What the inner DataLoader gives: batches, or batches with what a reader tells."""
    tells: bool


class ResumableLoader(Arguments, Epochs[Any, SampleEpoch | StreamEpoch]):
    """torch's DataLoader, with the same arguments, that tells its position and goes on at the very next batch.

    The position is what the training took, not what workers read ahead. Nothing is ever drawn from the training's
    random generators: the order is a function of `seed` and the epoch, samplers draw from generators of their own, and
    workers are seeded for every batch. `seed=None` takes the generator's `initial_seed()` when one is given, else
    `torch.initial_seed()`. Iterable data sets that tell a state tell it every `snapshot_every_n_batches`; what came
    after is read again.

    An epoch ends when its last batch is taken and when a loop over it is left by `break`. Only one iteration is under
    way at a time.

    Raises what DataLoader raises for wrong arguments, UsageError for DataPipes, and StateError for a wrong `seed`
    or `snapshot_every_n_batches`.
    """

    _noun: ClassVar[str] = "loader"

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Any = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Any = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int | None = None,
        snapshot_every_n_batches: int = 1,
    ) -> None:
        refuse_pipes(dataset)
        plain: DataLoader[Any] = DataLoader(
            dataset,
            batch_size,
            shuffle,
            sampler,
            batch_sampler,
            num_workers,
            collate_fn,
            pin_memory,
            drop_last,
            timeout,
            worker_init_fn,
            multiprocessing_context,
            generator,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            pin_memory_device=pin_memory_device,
            in_order=in_order,
        )
        self._take_over(plain, seed, snapshot_every_n_batches)

    @classmethod
    def of(cls, dataloader: Any, *, seed: int | None = None, snapshot_every_n_batches: int = 1) -> Self:
        """A resumable loader with all that a DataLoader was made with; `dataloader` itself stays as it is.

        Raises UsageError for what is no DataLoader, and for one that gives its batches in a way of its own.
        """
        if not isinstance(dataloader, DataLoader):
            raise UsageError(
                f"ResumableLoader.of takes a torch.utils.data.DataLoader, not a {type(dataloader).__name__}",
                hint="make one: ResumableLoader(dataset, batch_size=…, shuffle=True)",
            )
        if type(dataloader).__iter__ is not DataLoader.__iter__:
            raise UsageError(
                f"{type(dataloader).__name__} iterates in a way of its own, which a ResumableLoader would leave out",
                hint="take over a plain torch.utils.data.DataLoader, and wrap what it gives",
            )
        refuse_pipes(dataloader.dataset)
        loader = cls.__new__(cls)
        loader._take_over(dataloader, seed, snapshot_every_n_batches)
        return loader

    def _take_over(self, plain: DataLoader[Any], seed: int | None, every: int) -> None:
        for name, value, least in (("seed", seed, None), ("snapshot_every_n_batches", every, 1)):
            if value is None and name == "seed":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
                raise StateError(
                    f"{name} is {value!r}, and has to be a whole number" + (", 1 or more" if least else "")
                )
        super().__init__()
        self._plain = plain
        self._seed = seed
        self._every = every
        batched = plain.batch_sampler is not None
        reading = Reading(plain.collate_fn, plain.batch_size, plain.drop_last, batched, every)
        streams = isinstance(plain.dataset, IterableDataset)
        self._source: Source[Any] = StreamSource(plain, reading) if streams else SampleSource(plain, reading)
        self._feed = Feed()
        self._inner: DataLoader[Any] | None = None
        self._over = False
        """Whether an epoch is over and the next one not begun."""
        self._resumed: Position | None = None
        """Where the next iteration goes on."""
        self._carried: tuple[ReaderState, ...] = ()
        """What readers have from the epoch that is over."""
        self._before: Position | None = None
        """Where the epoch under way was begun or gone on with."""
        self._at_start: Mapping[str, Any] | None = None
        """What was told before the epoch that is under way, or was last, began."""

    @property
    def seed(self) -> int:
        """What the order and the workers' seeds are derived from."""
        if self._seed is None:
            generator = self._plain.generator
            self._seed = torch.initial_seed() if generator is None else generator.initial_seed()
        return self._seed

    @property
    def batch_idx(self) -> int:
        """Batches of the epoch under way that were taken; 0 between epochs."""
        self._settle()
        if self._under_way is not None:
            return self._under_way.taken
        return self._resumed.batch_idx if self._resumed is not None and self._resumed.epoch_open else 0

    @property
    def resumes_by(self) -> str:
        """How an epoch is gone on with: "position", "state", or "skipping" over what was given already."""
        return self._source.resumes_by(self._under_way)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why going on is not exact, as sentences; empty when it is."""
        return caveats_of(self._plain)

    @property
    def slow(self) -> tuple[str, ...]:
        """Why going on takes the longer the further the epoch is, as sentences; empty when it does not."""
        return slow_of(self._plain, self._source.kind, self.resumes_by)

    def set_epoch(self, epoch: int) -> None:
        """Has the next iteration be this epoch. One that is under way, or was loaded, goes on if it is the same."""
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise StateError(f"epoch is {epoch!r}, and has to be a whole number, 0 or more")
        self._settle()
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._under_way = None
        self._forget_loops()
        self._at_start = None
        if self._resumed is not None and self._resumed.epoch_open:
            self._resumed = None

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, which goes on where this one is; iterators and workers are not copied."""
        self._settle()
        position = self._position()
        kept = {name: value for name, value in vars(self).items() if name not in _OF_THIS_PROCESS}
        return {**kept, "_resumed": position, "_over": position.exhausted}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._take_over(state["_plain"], state["_seed"], state["_every"])
        vars(self).update(state)

    def __len__(self) -> int:
        """How many batches an epoch has. Raises TypeError where the data set or the sampler does not know."""
        return len(self._plain)

    def _begin(self) -> Begun | None:
        before = self._resumed if self._resumed is not None else self._told()
        resumed = self._resumed
        at_start = capture_random()
        if resumed is not None and resumed.epoch_open and resumed.exhausted:
            self.generators_at_start = at_start
            self._resumed = self._ended(resumed)
            return None
        begin_epoch(self.dataset, self._epoch)
        epoch = self._source.begin(self._epoch, self.seed, resumed, self._carried)
        self._feed.tasks = self._source.tasks(epoch)
        if self._inner is None:
            self._inner = inner_loader(self._plain, self._source.served, self._feed)
        seed_workers(self._inner, self.seed, self._epoch)
        answers = iter(self._inner)
        self._at_start = before.at_start if before.epoch_open else replace(before, at_start=None).told()
        self.generators_at_start = at_start
        self._before, self._resumed = before, None
        self._under_way, self._over = epoch, False
        return Begun(epoch, answers, tells=isinstance(epoch, StreamEpoch) or self.num_workers > 0)

    def _take(self, run: Begun) -> Any:
        epoch, answers, tells = run
        # An epoch that was given up is not asked for more, which would draw from the training's generators.
        while self._under_way is epoch and (answer := next(answers, END)) is not END and self._under_way is epoch:
            batch, told = answer if tells else (answer, None)
            if epoch.took(told):
                return batch
        self._end(epoch)
        return END

    def _end_other(self) -> None:
        epoch = self._under_way
        if epoch is None or epoch.has_given:
            super()._end_other()
            return
        # Its first batch was an error: it begins again.
        self._under_way, self._resumed = None, self._before

    @property
    def _is_loaded(self) -> bool:
        return self._under_way is None and self._resumed is not None and self._resumed.epoch_open

    def _end_loaded(self) -> None:
        if self._resumed is not None:
            self._resumed = self._ended(self._resumed, left=True)

    def _ended(self, resumed: Position, *, left: bool = False) -> Position:
        """Behind an epoch of which nothing is given any more: the position before the next one."""
        sampler = self._source.end(self._epoch, self.seed, resumed, left=left)
        self._over_behind(resumed.batch_idx)
        return replace(
            resumed,
            epoch=self._epoch,
            epoch_open=False,
            exhausted=True,
            batch_idx=0,
            sample_idx=None,
            prefetched=0,
            sampler_state=sampler,
            readers=resumed.readers if self._keeps_readers else (),
            next_reader=0,
        )

    def _end(self, under_way: SampleEpoch | StreamEpoch) -> None:
        if self._under_way is not under_way:
            return
        # In the training's own process the data set itself has its state.
        readers = under_way.readers if self.persistent_workers else None
        self._carried = () if readers is None else tuple(readers.states)
        self._over_behind(under_way.taken)

    def _over_behind(self, taken: int) -> None:
        self._over = True
        log.debug("advanced the loader: epoch %d is over behind batch %d", self._epoch, taken)
        self._advance()

    @property
    def _keeps_readers(self) -> bool:
        """Whether the next epoch has the readers of this one."""
        return self.num_workers == 0 or bool(self.persistent_workers)

    def state_dict(self) -> dict[str, Any]:
        """The position as plain data. Raises StateError where a data set's or a sampler's state is none."""
        self._settle()
        return self._position().plain()

    def _position(self) -> Position:
        epoch = self._under_way
        if epoch is None:
            return self._told() if self._resumed is None else self._resumed
        return self._told() if self._before is None or epoch.has_given else self._before

    def _told(self) -> Position:
        epoch = self._under_way
        fields = self._source.told(epoch, plain_states(self._carried), over=self._over)
        return Position(
            epoch=self._epoch,
            epoch_open=epoch is not None,
            seed=self.seed,
            num_workers=self.num_workers,
            batch_size=self.batch_size,
            at_start=self._at_start,
            resumes_by=self.resumes_by,
            **fields,
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Has the next iteration go on from a position; one that is under way is given up.

        Raises StateError, and changes nothing, for a damaged position and for one of other data: another length,
        another kind of order, or another number of workers where workers have states.
        """
        position = position_of(state)
        refuse_other(position, self._plain, self._source.kind)
        self._under_way = None
        self._forget_loops()
        self._over = position.exhausted
        self._carried = ()
        self._resumed = position
        if position.epoch is not None:
            self._epoch = position.epoch
        if position.seed is not None:
            self._seed = position.seed
