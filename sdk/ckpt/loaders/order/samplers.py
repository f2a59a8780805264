"""The order of somebody's sampler, which draws from random generators of its own instead of the training's."""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from ckpt.exceptions import StateError
from ckpt.loaders.own_generators import OwnGenerators
from ckpt.loaders.positions import Position
from ckpt.loaders.seeding import derived, generators_of
from ckpt.saving.capture.protocol import give_state, has_state, state_of
from ckpt.telling import tell

log = logging.getLogger("ckpt.saving")

VERSION = 1
"""Of the state of an order by a sampler."""

_DRAW_ONCE = (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
"""torch's own draw from the process's generators before their first index and never again."""


_COMPARED = 4
"""Batches by which a sampler that begins its epoch anew is known."""


class SamplerOrder:
    """The order of a sampler or a batch sampler, with a state or without."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._parts = _parts(source)
        innermost = self._parts[-1]
        self.kind = f"sampler {type(innermost).__name__}"
        self._holder = _holder(self._parts)
        self._draws_once = all(type(part) in _DRAW_ONCE for part in self._parts)
        self._generators = OwnGenerators(0)
        self._at_start: dict[str, Any] = {}
        """What the samplers had when the epoch began, as `between` tells it."""
        self._iterator: Iterator[Any] = iter(())
        self._drawn = 0
        self._ended = False
        self._first: list[Any] = []
        """The first batches of the epoch, as far as they were drawn."""
        self._told_epochs = [getattr(part, "epoch", None) for part in self._parts]

    @property
    def resumes_by(self) -> str:
        """ "state", or "skipping" where nobody has one that holds all of the order."""
        return "skipping" if self._live() is None else "state"

    def begin(self, epoch: int, seed: int, resumed: Position | None) -> Iterator[Any]:
        """Batches of indices from a position on. Raises StateError for a state that a sampler does not take."""
        self._warn_of_epoch(epoch)
        return self._begin(epoch, seed, resumed)

    def _begin(self, epoch: int, seed: int, resumed: Position | None) -> Iterator[Any]:
        state = resumed.sampler_state if resumed is not None else None
        for i, part in enumerate(self._parts):
            if callable(getattr(part, "set_epoch", None)):
                part.set_epoch(epoch)
                self._told_epochs[i] = epoch
        if resumed is None:
            return self._anew(epoch, seed, at_start=None)
        if state is not None and "state" in state and _is_ours(state):
            return self._restored(epoch, seed, state)
        if state is not None and not _is_ours(state):
            # The documented keys alone: the sampler's own state, and nothing of what was drawn ahead.
            return self._restored(epoch, seed, {"state": state, "drawn": 0, "pending": []})
        batches = self._anew(epoch, seed, at_start=None if state is None else state.get("at_start"))
        if resumed.batch_idx:
            log.debug("skipped %d batches of indices of the %s", resumed.batch_idx, self.kind)
            return itertools.islice(batches, resumed.batch_idx, None)
        return batches

    def drawn(self, pending: Sequence[Any]) -> dict[str, Any] | None:
        """The state behind what was drawn, with those batches that are not taken yet; without a state, the start's."""
        holder = self._live()
        told = {"order_version": VERSION, "at_start": self._at_start}
        if holder is None:
            return told
        return {
            **told,
            "state": copy.deepcopy(state_of(holder, "sampler")),
            "pending": list(pending),
            "drawn": self._drawn,
            "ended": self._ended,
            "first": list(self._first),
            "held": _held(self._parts),
            "generators": self._generators.state(),
        }

    def between(self) -> dict[str, Any] | None:
        """What goes over from one epoch to the next: generators that samplers hold, and states."""
        carried = {str(i): state_of(part, "sampler") for i, part in enumerate(self._parts) if has_state(part)}
        return {"order_version": VERSION, "held": _held(self._parts), "carried": copy.deepcopy(carried), "over": True}

    def end(self, epoch: int, seed: int, resumed: Position, *, left: bool) -> dict[str, Any] | None:
        """Comes to the end of an epoch from a position at it, or leaves it there, without reading data; what `between`
        tells then.
        """
        state = resumed.sampler_state
        if state is not None and state.get("over"):
            self._carry(state)
        elif left:
            batches = self._begin(epoch, seed, replace(resumed, batch_idx=0))
            if state is None or "state" not in state:
                for _ in itertools.islice(batches, resumed.batch_idx):
                    pass
        else:
            for _ in self._begin(epoch, seed, resumed):
                pass
        return self.between()

    def _carry(self, state: Mapping[str, Any] | None) -> None:
        """Takes what `between` told."""
        if state is None or not _is_ours(state):
            return
        carried = state.get("carried") or {}
        for i, part in enumerate(self._parts):
            if str(i) in carried and has_state(part):
                self._given(part, carried[str(i)])
        _give_held(self._parts, state.get("held") or {})

    def _warn_of_epoch(self, epoch: int) -> None:
        """Where somebody told a sampler another epoch than the loader is going to."""
        for part, told in zip(self._parts, self._told_epochs, strict=True):
            found = getattr(part, "epoch", None) if callable(getattr(part, "set_epoch", None)) else None
            if isinstance(found, int) and found not in (epoch, told):
                tell(
                    f"the {type(part).__name__} was set to epoch {found}, and the loader is at epoch {epoch}, which "
                    "counts: call set_epoch() of the loader, which tells the sampler",
                    log,
                )

    def _live(self) -> Any:
        """Who has the state of the epoch under way: the iterator, else one of the samplers, else nobody."""
        return self._iterator if has_state(self._iterator) else self._holder

    def _anew(self, epoch: int, seed: int, at_start: Mapping[str, Any] | None) -> Iterator[Any]:
        self._carry(at_start)
        self._at_start = self.between() or {}
        self._generators = OwnGenerators(derived(seed, epoch, "sampler"))
        self._drawn, self._ended, self._first = 0, False, []
        with self._generators:
            self._iterator = iter(self._source)
        return self._draw()

    def _restored(self, epoch: int, seed: int, state: Mapping[str, Any]) -> Iterator[Any]:
        at_start = dict(state.get("at_start") or {})
        pending, first = list(state.get("pending") or []), list(state.get("first") or [])
        drawn, ended = int(state.get("drawn") or 0), bool(state.get("ended"))
        if drawn and not ended and self._begins_anew(epoch, seed, state, first):
            log.warning(
                "the %s begins its epoch anew although its state was loaded: %d batches of indices are skipped "
                "instead; its __iter__ has to go on where load_state_dict() put it",
                self.kind,
                drawn,
            )
            return itertools.chain(pending, itertools.islice(self._anew(epoch, seed, at_start), drawn, None))
        self._at_start = at_start
        self._generators = self._own_generators(epoch, seed, state)
        self._iterator = self._opened(self._generators, state, ended=ended)
        self._drawn, self._first, self._ended = drawn, first, ended
        return itertools.chain(pending, iter(()) if ended else self._draw())

    def _begins_anew(self, epoch: int, seed: int, state: Mapping[str, Any], first: Sequence[Any]) -> bool:
        """Whether an iterator gives the epoch's first batches again although the state was loaded.

        It draws them with the generators of the epoch's beginning, as one that begins anew does. A sampler that goes on
        and repeats them all the same loses time by that, and no batch.
        """
        beginning = {**state, "held": (state.get("at_start") or {}).get("held") or {}, "generators": None}
        generators = self._own_generators(epoch, seed, beginning)
        iterator = self._opened(generators, beginning)
        with generators:
            return repr(list(itertools.islice(iterator, len(first)))) == repr(list(first))

    def _own_generators(self, epoch: int, seed: int, state: Mapping[str, Any]) -> OwnGenerators:
        generators = OwnGenerators(derived(seed, epoch, "sampler"))
        if state.get("generators") is not None:
            generators.restore(state["generators"])
        return generators

    def _opened(self, generators: OwnGenerators, state: Mapping[str, Any], *, ended: bool = False) -> Iterator[Any]:
        """An iterator of what was given its state."""
        _give_held(self._parts, state.get("held") or {})
        if self._holder is not None:
            self._given(self._holder, state["state"])
        if ended:
            return iter(())
        with generators:
            iterator: Iterator[Any] = iter(self._source)
        if self._holder is None:
            self._given(iterator, state["state"])
        return iterator

    def _given(self, holder: Any, state: Any) -> None:
        try:
            give_state(holder, copy.deepcopy(state))
        except Exception as error:
            raise StateError(
                f"sampler_state: the {type(holder).__name__} does not take it: {error}",
                hint="give the loader a sampler of the kind that was saved",
            ) from error

    def _draw(self) -> Iterator[Any]:
        iterator, generators = self._iterator, self._generators
        while True:
            with generators:
                try:
                    batch = next(iterator)
                except StopIteration:
                    break
            if len(self._first) < _COMPARED:
                self._first.append(copy.copy(batch))
            self._drawn += 1
            self._ended = self._is_last(batch)
            yield batch
            if self._draws_once:
                yield from iterator
                break
        self._ended = True

    def _is_last(self, batch: Any) -> bool:
        """Whether the sampler in a batch sampler came to its end, and a state of it is of its next pass."""
        source = self._source
        return type(source) is BatchSampler and isinstance(batch, list) and len(batch) < source.batch_size


def _parts(source: Any) -> list[Any]:
    """A batch sampler and the samplers in it, from the outside."""
    parts = [source]
    while len(parts) < 9:
        inner = getattr(parts[-1], "batch_sampler", None) or getattr(parts[-1], "sampler", None)
        if inner is None or isinstance(inner, list | tuple | range) or any(inner is part for part in parts):
            break
        parts.append(inner)
    return parts


def _holder(parts: Sequence[Any]) -> Any:
    """The outermost sampler with a state; None where another outside of it may hold indices back."""
    for part in parts:
        if has_state(part):
            return part
        if type(part) is not BatchSampler:
            return None
    return None


def _generators_in(parts: Sequence[Any]) -> dict[str, Any]:
    """Random generators that samplers hold as attributes."""
    return {f"{depth}.{name}": value for depth, part in enumerate(parts) for name, value in generators_of(part).items()}


def _held(parts: Sequence[Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(state_of(held, name)) for name, held in _generators_in(parts).items()}


def _give_held(parts: Sequence[Any], states: Mapping[str, Any]) -> None:
    for name, generator in _generators_in(parts).items():
        if name in states:
            give_state(generator, states[name])


def _is_ours(state: Mapping[str, Any]) -> bool:
    return "order_version" in state
