"""ResumableLoader: torch's DataLoader with a position."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch.utils.data import DataLoader, IterableDataset

from ckpt.exceptions import StateError, UsageError
from ckpt.loaders.fitting import caveats_of, refuse_other
from ckpt.loaders.leaving import Loop
from ckpt.loaders.positions import Position, ReaderState, position_of
from ckpt.loaders.reading.epoch import SampleEpoch, StreamEpoch
from ckpt.loaders.reading.inner import Feed, inner_loader, refuse_pipes
from ckpt.loaders.reading.readers import plain_states
from ckpt.loaders.reading.samples import SampleSource
from ckpt.loaders.reading.serving import Reading, begin_epoch
from ckpt.loaders.reading.streams import StreamSource
from ckpt.saving.capture.generators import capture_random
from ckpt.selftest.recording import heard

log = logging.getLogger("ckpt.saving")


class ResumableLoader:
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
        """A resumable loader with all that a DataLoader was made with. Raises UsageError for what is no DataLoader."""
        if not isinstance(dataloader, DataLoader):
            raise UsageError(
                f"ResumableLoader.of takes a torch.utils.data.DataLoader, not a {type(dataloader).__name__}",
                hint="make one: ResumableLoader(dataset, batch_size=…, shuffle=True)",
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
        self._plain = plain
        self._seed = seed
        batched = plain.batch_sampler is not None
        reading = Reading(plain.collate_fn, plain.batch_size, plain.drop_last, batched, every)
        streams = isinstance(plain.dataset, IterableDataset)
        self._source: Any = StreamSource(plain, reading) if streams else SampleSource(plain, reading)
        self._feed = Feed()
        self._inner: DataLoader[Any] | None = None
        self._epoch = 0
        self._under_way: SampleEpoch | StreamEpoch | None = None
        self._over = False
        """Whether an epoch is over and the next one not begun."""
        self._resumed: Position | None = None
        """Where the next iteration goes on."""
        self._carried: tuple[ReaderState, ...] = ()
        """What readers have from the epoch that is over."""
        self._at_start: dict[str, Any] | None = None
        """What was told before the epoch under way began, where it cannot be made anew from its number."""
        self.generators_at_start: dict[str, Any] | None = None
        """Random states of Python, NumPy and torch when the epoch's iteration began; None before the first."""
        self._loop = Loop()
        self.generators_at_end: dict[str, Any] | None = None
        """Those when the last epoch was over; None before one was."""

    dataset = property(lambda self: self._plain.dataset)
    batch_size = property(lambda self: self._plain.batch_size)
    sampler = property(lambda self: self._plain.sampler)
    batch_sampler = property(lambda self: self._plain.batch_sampler)
    num_workers = property(lambda self: self._plain.num_workers)
    drop_last = property(lambda self: self._plain.drop_last)
    collate_fn = property(lambda self: self._plain.collate_fn)
    persistent_workers = property(lambda self: self._plain.persistent_workers)
    generator = property(lambda self: self._plain.generator)

    @property
    def seed(self) -> int:
        """What the order and the workers' seeds are derived from."""
        if self._seed is None:
            generator = self._plain.generator
            self._seed = torch.initial_seed() if generator is None else generator.initial_seed()
        return self._seed

    @property
    def epoch(self) -> int:
        """The epoch that is under way or next; the first is 0."""
        self._settle()
        return self._epoch

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
        return str(self._source.resumes_by(self._under_way))

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why going on is not exact, or takes the longer the further the epoch is; empty when it is neither."""
        return caveats_of(self._plain, self._source.kind, self.resumes_by)

    def set_epoch(self, epoch: int) -> None:
        """Has the next iteration be this epoch. One that is under way, or was loaded, goes on if it is the same."""
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise StateError(f"epoch is {epoch!r}, and has to be a whole number, 0 or more")
        self._settle()
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._under_way = None
        if self._resumed is not None and self._resumed.epoch_open:
            self._resumed = None

    def __len__(self) -> int:
        """How many batches an epoch has. Raises TypeError where the data set or the sampler does not know."""
        return len(self._plain)

    def __iter__(self) -> Iterator[Any]:
        self._settle()
        if self._under_way is not None:
            log.debug("the loader's epoch %d is left at batch %d: another begins", self._epoch, self._under_way.taken)
            self._end(self._under_way)
        self._at_start = self._told().told() if self._source.remembers and self._resumed is None else None
        resumed, self._resumed = self._resumed, None
        self.generators_at_start = capture_random()
        if resumed is not None and resumed.epoch_open:
            if resumed.exhausted:
                self._resumed = self._ended(resumed)
                return iter(())
            if resumed.generators is not None:
                self.generators_at_start = dict(resumed.generators)
        if resumed is not None:
            self._at_start = dict(resumed.at_start) if resumed.at_start is not None else None
        self._loop = Loop()
        begin_epoch(self.dataset, self._epoch)
        epoch = self._source.begin(self._epoch, self.seed, resumed, self._carried)
        self._under_way, self._over = epoch, False
        self._feed.tasks = self._source.tasks(epoch)
        if self._inner is None:
            self._inner = inner_loader(self._plain, self._source.served, self._feed)
        return heard(self._batches(epoch, iter(self._inner)))

    def _ended(self, resumed: Position) -> Position:
        """Behind an epoch of which nothing is left: the position before the next one."""
        sampler = self._source.end(self._epoch, self.seed, resumed)
        self._advance(resumed.batch_idx)
        return replace(
            resumed,
            epoch=self._epoch,
            epoch_open=False,
            batch_idx=0,
            sample_idx=None,
            prefetched=0,
            sampler_state=sampler,
            readers=resumed.readers if self._keeps_readers else (),
            next_reader=0,
            generators=None,
            at_start=None,
        )

    def _batches(self, epoch: SampleEpoch | StreamEpoch, answers: Iterator[Any]) -> Iterator[Any]:
        plain = isinstance(epoch, SampleEpoch) and self.num_workers == 0
        try:
            if plain:
                for batch in answers:
                    if self._under_way is not epoch:
                        return
                    epoch.took(None)
                    yield batch
            else:
                for batch, told in answers:
                    if self._under_way is not epoch:
                        return
                    if epoch.took(told):
                        yield batch
        except GeneratorExit:
            self._leave(epoch)
            raise
        self._end(epoch)

    def _leave(self, epoch: SampleEpoch | StreamEpoch) -> None:
        """The loop was left: by `break`, which ends the epoch, or by an exception, at which it is still under way."""
        if self._under_way is epoch and not sys.is_finalizing():
            self._loop.leave()
            self.generators_at_end = capture_random()

    def _settle(self) -> None:
        """Ends an epoch whose loop was left by `break`."""
        if self._under_way is not None and self._loop.ended:
            self._end(self._under_way)

    def _end(self, epoch: SampleEpoch | StreamEpoch) -> None:
        """The epoch is over, unless another has taken its place."""
        if self._under_way is not epoch:
            return
        kept = epoch.readers.states if self._keeps_readers and epoch.readers is not None else ()
        self._carried = tuple(kept)
        self._under_way = None
        self._advance(epoch.taken)

    def _advance(self, taken: int) -> None:
        self._over = True
        self._epoch += 1
        if not self._loop.is_left:
            self.generators_at_end = capture_random()
        log.debug("advanced the loader: epoch %d is over behind batch %d", self._epoch - 1, taken)

    @property
    def _keeps_readers(self) -> bool:
        """Whether the next epoch has the readers of this one."""
        return self.num_workers == 0 or bool(self.persistent_workers)

    def state_dict(self) -> dict[str, Any]:
        """The position as plain data. Raises StateError where a data set's or a sampler's state is none."""
        self._settle()
        told = self._resumed if self._resumed is not None and self._under_way is None else self._told()
        return told.plain()

    def _told(self) -> Position:
        epoch = self._under_way
        fields = self._source.told(epoch, plain_states(self._carried), over=self._over)
        rereads = isinstance(epoch, StreamEpoch) and self.num_workers == 0 and self.resumes_by == "skipping"
        return Position(
            batch_idx=0 if epoch is None else epoch.taken,
            epoch=self._epoch,
            epoch_open=epoch is not None,
            seed=self.seed,
            num_workers=self.num_workers,
            batch_size=self.batch_size,
            generators=self.generators_at_start if rereads else None,
            at_start=None if epoch is None else self._at_start,
            resumes_by=self.resumes_by,
            caveats=self.caveats,
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
        self._over = position.exhausted
        self._carried = ()
        self._resumed = position
        if position.epoch is not None:
            self._epoch = position.epoch
        if position.seed is not None:
            self._seed = position.seed
