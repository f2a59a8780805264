"""What the readers of an epoch, workers or the training's own process, gave as far as the training took it."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ckpt.loaders.positions import Position, ReaderState
from ckpt.loaders.reading.serving import Start, Told
from ckpt.loaders.seeding import derived
from ckpt.runs.rank import rank


class Readers:
    """What the readers of an epoch gave, as far as the training took it."""

    def __init__(self, count: int, seed: int, epoch: int) -> None:
        self._epoch = epoch
        self._seeds = [derived(seed, rank(), epoch, "worker", i) for i in range(count)]
        self.states = [ReaderState() for _ in range(count)]
        self.next = 0
        self.of: str | None = None
        """Who tells the readers' states, as far as one of them answered."""
        self.all_exhausted = False
        self._resumed: Sequence[ReaderState] = ()
        self._continues = False

    def begin(self, resumed: Position | None, carried: Sequence[ReaderState]) -> None:
        """Has the readers begin the epoch, or go on from a position: within the epoch, or at the end of the one before.

        `carried` is what they have from that end already.
        """
        if resumed is None:
            self._carry(carried)
            # Workers that live on have read ahead of what was taken.
            self._resumed = plain_states(self.states) if carried else ()
        elif not resumed.epoch_open:
            if len(resumed.readers) == len(self.states):
                self._resumed = resumed.readers
                self._carry(resumed.readers)
        elif resumed.readers:
            self._resumed, self._continues = resumed.readers, True
            self.states = list(resumed.readers)
            self.next = resumed.next_reader
            self._look()

    def _carry(self, states: Sequence[ReaderState]) -> None:
        if not states:
            return
        self.states = [
            ReaderState(state=state.state, of=state.of, carried=True, left=state.left)
            if state.of == "dataset"
            else ReaderState()
            for state in states
        ]

    def starts(self) -> Iterator[tuple[Start | None, bool]]:
        """For every task: what its reader is told first, and whether it passes its turn."""
        first = self.next
        for worker, seed in enumerate(self._seeds):
            resumed = self._resumed[worker] if self._resumed else None
            yield Start(self._epoch, seed, resumed, self._continues), worker < first
        yield from itertools.repeat((None, False))

    def took(self, told: Told) -> bool:
        """Notes an answer that it is the training's turn to take; whether there is a batch in it."""
        worker = told.worker
        self.of = told.of or self.of
        state = self.states[worker]
        if told.given:
            state = replace(state, batches=state.batches + 1, since=state.since + 1)
            self.next = (worker + 1) % len(self.states)
        if told.state is not None:
            state = replace(state, since=0, of=told.of, state=_Pickled(told.state), carried=False)
        if told.exhausted:
            state = replace(state, exhausted=True)
        self.states[worker] = state
        if told.exhausted:
            self._look()
        return told.given

    def plain(self) -> tuple[ReaderState, ...]:
        """The states with what readers pickled made objects again."""
        return plain_states(self.states)

    def _look(self) -> None:
        self.all_exhausted = all(state.exhausted for state in self.states)


def plain_states(states: Sequence[ReaderState]) -> tuple[ReaderState, ...]:
    """The states with what readers pickled made objects again."""
    return tuple(_unpickled(state) for state in states)


def _unpickled(state: ReaderState) -> ReaderState:
    if isinstance(state.state, _Pickled):
        # A worker of this very process pickled it.
        return replace(state, state=pickle.loads(state.state.value))  # noqa: S301
    return state


class _Pickled(NamedTuple):
    value: bytes
