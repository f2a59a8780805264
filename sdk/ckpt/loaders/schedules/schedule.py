"""LoaderSchedule: several loaders in one order, which tells where it stands and goes on there."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ckpt.loaders.epochs import Epochs
from ckpt.loaders.iteration import END
from ckpt.loaders.leaving import Loop
from ckpt.loaders.schedules.arguments import Name, named_loaders, quota_of, turns_of
from ckpt.loaders.schedules.choices import Choices
from ckpt.loaders.schedules.record import VERSION, ScheduleState, prefetched, setup_of, whole
from ckpt.loaders.schedules.sources import give_all, source_of
from ckpt.loaders.schedules.strategies import (
    Progress,
    Then,
    after_batch,
    after_end,
    after_epoch,
    batches_of,
    is_exhausted,
    is_over,
    next_loader,
)
from ckpt.saving.capture.generators import capture_random

log = logging.getLogger("ckpt.saving")


class LoaderSchedule(Epochs[tuple[Name, Any], Loop]):
    """Several loaders in one order: iterating gives `(name, batch)`, or `(number, batch)` for loaders without names.

    `loaders` is a mapping of names to loaders, or a sequence of them. A loader is a `ckpt.ResumableLoader`, which goes
    on exactly and at once; another schedule; any iterable with `state_dict()` and `load_state_dict()`; or any other
    iterable, whose batches are read again and dropped on a resume.

    `strategy` says who is next:

    | strategy        | who is next                                                                            |
    | --------------- | -------------------------------------------------------------------------------------- |
    | `"round_robin"` | each loader in turn, one batch a turn                                                  |
    | `"alternating"` | as `pattern` says, a list of names or numbers (`["a", "a", "b"]`); without, each once  |
    | `"weighted"`    | drawn with `weights`, one for each loader; without, all alike                          |
    | `"sequential"`  | one loader until its part is given, then the next one                                  |

    `epoch_length` says when an epoch is over, and who cycles, which is to begin anew within the epoch:

    | epoch length    | in turns or drawn                                 | sequential                           |
    | --------------- | ------------------------------------------------- | ------------------------------------ |
    | `"shortest"`    | when a loader is next that has no batch left      | each gives as many as the shortest   |
    | `"longest"`     | when all were gone through; shorter ones cycle    | each gives as many as the longest    |
    | `"once"`        | when all were gone through once; nobody cycles    | the same                             |
    | a number        | after so many batches; who comes to an end cycles | the same; the first follows the last |
    | `"infinite"`    | never; who comes to an end cycles                 | the same; the first follows the last |

    The default is `"longest"`, for sequential schedules `"once"`. With a number or `"infinite"` an epoch is a piece of
    one endless order: the next one goes on where this one stopped, so that endless data, and epochs shorter than the
    data, lose nothing. With the other three all loaders begin anew with each epoch.

    A loader without a length is known to be at its end when it is asked and has no batch; sequential schedules to the
    shortest or longest need all lengths. A loader of weight 0 is never asked, and does not count. Leaving the loop
    early ends the epoch.

    `seed` is for `"weighted"` alone: the order of an epoch depends on it and on the epoch's number. None is
    `torch.initial_seed()`, and under `torch.distributed` that of rank 0 on all ranks, asked for when the first epoch
    begins: there all ranks have to begin one, or a seed be given.

    Raises UsageError for arguments that mean no order, StateError for a wrong `seed`; while iterating, UsageError for a
    loader that gives no batch at all.
    """

    _noun: ClassVar[str] = "schedule"

    def __init__(
        self,
        loaders: Mapping[str, Any] | Sequence[Any],
        strategy: str = "round_robin",
        epoch_length: str | int | None = None,
        *,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        pattern: Sequence[Name] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.loaders = named_loaders(loaders)
        self.names: tuple[Name, ...] = tuple(self.loaders)
        self._turns = turns_of(self.names, strategy, epoch_length, weights, pattern)
        self._sources = [source_of(loader, name) for name, loader in self.loaders.items()]
        self._choices = Choices(None if seed is None else whole(seed, "seed"))
        self._progress = Progress(given=[0] * self._turns.loaders)
        self._quota: int | None = None
        self._is_open = False
        self._exhausted = False
        """Whether no batch is left of the epoch that is under way; between epochs, whether one is over."""
        self._total = 0
        self._start: Mapping[str, Any] | None = None
        """The state that the epoch began with; between epochs, the one before."""
        self._before: Mapping[str, Any] = {}
        """The state in which the epoch under way was begun or gone on with."""

    @property
    def strategy(self) -> str:
        """Who is next."""
        return self._turns.strategy

    @property
    def epoch_length(self) -> str | int:
        """When an epoch is over."""
        return self._turns.length

    @property
    def batch_idx(self) -> int:
        """Batches given in the epoch that is under way; 0 between epochs."""
        self._settle()
        return self._progress.position

    @property
    def resumes_by(self) -> str:
        """How a resume goes on, by the loader that is worst at it: "position", "state" or "skipping"."""
        ways = {source.resumes_by for source in self._sources}
        return next((way for way in ("skipping", "state") if way in ways), "position")

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why a resume may not be exact, as sentences; () when it is."""
        return tuple(caveat for source in self._sources for caveat in source.caveats)

    @property
    def slow(self) -> tuple[str, ...]:
        """Why a resume takes the longer the further the epoch is, as sentences; () when it does not."""
        return tuple(reason for source in self._sources for reason in source.slow)

    def __len__(self) -> int:
        """Batches of an epoch. Raises TypeError where chance decides, for no end, and without the loaders' lengths."""
        lengths = [source.length for source in self._sources]
        known = [length for length in lengths if length is not None]
        if isinstance(self._turns.length, int):
            return self._turns.length
        found = batches_of(self._turns, known) if len(known) == len(lengths) else None
        if found is None:
            raise TypeError(
                f"how many batches an epoch has is not known before its end: {self.strategy} to {self.epoch_length}; "
                "epoch_length=N says it"
            )
        return found

    def set_epoch(self, epoch: int) -> None:
        """Makes an epoch the next one. Nothing happens where it is the next one, or under way.

        Otherwise all begins anew, and loaders that have `set_epoch` are told too. Raises StateError for what is no
        number of an epoch.
        """
        if whole(epoch, "epoch", least=0) == self.epoch:
            return
        self._end(self._under_way)
        self._progress, self._exhausted = Progress(given=[0] * self._turns.loaders), False
        self._leave_all()
        self._forget_loops()
        self._epoch = epoch
        for loader in self.loaders.values():
            if callable(getattr(loader, "set_epoch", None)):
                loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands after the batch that was given last, as plain data: what the format's document
        has, and what it takes to go on exactly.
        """
        self._settle()
        progress = self._progress
        states = [source.state() for source in self._sources]
        has_ended = not self._exhausted and self._has_ended()
        return {
            "version": VERSION,
            "schedule_position": progress.position,
            "loader_states": states,
            "total_batches": self._total,
            "loader_cycles": {i: source.passes for i, source in enumerate(self._sources)},
            "prefetched_batches": sum(map(prefetched, states)),
            "choice_rng": self._choices.state(),
            "batch_idx": progress.position,
            "exhausted": self._exhausted or has_ended,
            "epoch": self._epoch,
            "epoch_open": self._is_open,
            "unasked": has_ended,
            "turn": progress.turn,
            "given": list(progress.given),
            "through": sorted(progress.through),
            "seed": self._choices.seed,
            **setup_of(self._turns, self.names),
            "at_start": self._start,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from where a state was told: the next iterator gives the batch after the one that was given last.

        A state at the first batch of an epoch that was under way begins that epoch anew. Raises StateError for a state
        of other loaders or another order, and for a damaged one: then all is as it was.
        """
        saved = ScheduleState.of(state, self._turns, self.names)
        give_all(self._sources, saved.loaders)
        for source, passes in zip(self._sources, saved.cycles, strict=True):
            source.passes = passes
        self._under_way = None
        self._forget_loops()
        self._progress, self._total, self._start = saved.progress, saved.total, saved.start
        self._choices.give(saved.choices, saved.seed)
        # What only seems to have no more batches is asked, as it was by a training that went on.
        self._epoch, self._is_open, self._exhausted = saved.epoch, saved.is_open, saved.exhausted
        self.generators_at_start = None
        log.debug(
            "restored the schedule: epoch %d at batch %d; %s",
            *(self._epoch, self.batch_idx, ", ".join(f"{s.name} after {s.passes} passes" for s in self._sources)),
        )

    def _end_other(self) -> None:
        if self._under_way is None or self._loop.batches:
            super()._end_other()
            return
        # Its first batch was an error: it begins again.
        self.load_state_dict(self._before)

    def _take(self, run: Loop) -> Any:
        turns, progress, quota = self._turns, self._progress, self._quota
        while self._under_way is run and not (self._exhausted or is_over(turns, progress, quota)):
            loader = next_loader(turns, progress, lambda: self._choices.draw(self._epoch))
            source = self._sources[loader]
            batch = source.take()
            if batch is END:
                then = after_end(turns, progress, loader)
                log.debug("loader %r came to its end the %d. time: %s", source.name, source.passes, then.value)
                if then is Then.OVER:
                    break
                if then is Then.PASS:
                    continue
                batch = source.take()
            self._total += 1
            after_batch(turns, progress, loader, quota, turns.length == "longest" and source.gave_all)
            return source.name, batch
        self._end(run)
        return END

    def _has_ended(self) -> bool:
        """Whether the epoch that is under way has no more batches, as far as that is known before somebody is asked."""
        if self._under_way is None or (self._turns.weights and not self._choices.has_begun):
            return False
        ended = [source.has_ended() for source in self._sources]
        return is_exhausted(self._turns, self._progress, self._quota, self._choices.ahead(), ended.__getitem__)

    def _begin(self) -> Loop:
        quota = quota_of(self._turns, {source.name: source.length for source in self._sources})
        if self._turns.weights:
            self._choices.agree()
        if not self._is_open:
            self._start, self._is_open, self._exhausted = None, True, False
            self._before = self._start = self.state_dict()
        else:
            self._before = self.state_dict()
        if self.batch_idx == 0:
            self.generators_at_start = capture_random()
        # The loop stands for it: an iterator itself is not held, and goes with the loop over it.
        self._under_way, self._quota = self._loop, quota
        log.debug(
            "scheduled epoch %d from batch %d on: %s over %s, epoch_length %s",
            *(self._epoch, self.batch_idx, self.strategy, ", ".join(map(str, self.names)), self.epoch_length),
        )
        return self._loop

    @property
    def _is_loaded(self) -> bool:
        return self._is_open and self._under_way is None

    def _end_loaded(self) -> None:
        self._end(None)

    def _end(self, under_way: Loop | None) -> None:
        if not self._is_open or self._under_way is not under_way:
            return
        log.debug("advanced: epoch %d of the schedule is over after %d batches", self._epoch, self._progress.position)
        self._advance()
        self._is_open, self._exhausted = False, True
        self._progress = after_epoch(self._turns, self._progress)
        if not self._turns.goes_on:
            self._leave_all()

    def _leave_all(self) -> None:
        """All loaders begin anew with what they give next."""
        self._choices.begin_anew()
        for source in self._sources:
            source.leave()
            source.passes = 0
