"""The order of somebody's sampler, which draws from random generators of its own instead of the training's."""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
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
from ckpt.loaders.positions import Position
from ckpt.loaders.seeding import OwnGenerators, derived, generators_of
from ckpt.saving.capture.protocol import give_state, has_state, state_of

log = logging.getLogger("ckpt.saving")

_DRAW_ONCE = (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
"""torch's own draw from the process's generators before their first index and never again."""


class SamplerOrder:
    """The order of a sampler or a batch sampler, with a state or without."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._parts = _parts(source)
        innermost = self._parts[-1]
        self.kind = f"sampler {type(innermost).__name__}"
        self._stateful = next((part for part in self._parts if has_state(part)), None)
        self._draws_once = all(type(part) in _DRAW_ONCE for part in self._parts)
        self._generators = OwnGenerators(0)
        self._held_at_start: dict[str, Any] = {}
        self._iterator: Iterator[Any] = iter(())
        self._drawn = 0
        self._ended = False
        self._first: Any = None

    @property
    def resumes_by(self) -> str:
        return "skipping" if self._live() is None else "state"

    def begin(self, epoch: int, seed: int, resumed: Position | None) -> Iterator[Any]:
        state = resumed.sampler_state if resumed is not None else None
        for part in self._parts:
            if callable(getattr(part, "set_epoch", None)):
                part.set_epoch(epoch)
        if resumed is None:
            return self._anew(epoch, seed, held=None)
        if state is not None and "state" in state:
            return self._restored(epoch, seed, state)
        if state is not None and not _is_ours(state):
            # The documented keys alone: the sampler's own state, and nothing of what was drawn ahead.
            return self._restored(epoch, seed, {"state": state, "drawn": 0, "pending": []})
        held = None if state is None else state.get("held")
        batches = self._anew(epoch, seed, held)
        if resumed.batch_idx:
            log.debug("skipped %d batches of indices of the %s", resumed.batch_idx, self.kind)
            return itertools.islice(batches, resumed.batch_idx, None)
        return batches

    def drawn(self, pending: Sequence[Any]) -> dict[str, Any] | None:
        holder = self._live()
        if holder is None:
            return {"held": self._held_at_start}
        return {
            "state": copy.deepcopy(state_of(holder, "sampler")),
            "pending": list(pending),
            "drawn": self._drawn,
            "ended": self._ended,
            "first": self._first,
            "held": {},
            "held_now": _held(self._parts),
            "held_at_start": self._held_at_start,
            "generators": self._generators.state(),
        }

    def between(self) -> dict[str, Any] | None:
        """What goes over from one epoch to the next: generators that the sampler holds, and its state."""
        state: dict[str, Any] = {"held": _held(self._parts), "over": True}
        if self._stateful is not None:
            state["carried"] = copy.deepcopy(state_of(self._stateful, "sampler"))
        return state

    def end(self, epoch: int, seed: int, resumed: Position) -> dict[str, Any] | None:
        """Comes to the end of an epoch from a position at it, without reading data; what `between` tells then."""
        state = resumed.sampler_state
        if state is not None and state.get("over"):
            self.carry(state)
        else:
            for _ in self.begin(epoch, seed, resumed):
                pass
        return self.between()

    def carry(self, state: Mapping[str, Any] | None) -> None:
        """Takes what `between` told."""
        if state is None or not _is_ours(state):
            return
        if "carried" in state and self._stateful is not None:
            give_state(self._stateful, state["carried"])
        _give_held(self._parts, state.get("held") or {})

    def _live(self) -> Any:
        """Who has the state of the epoch under way: the iterator, else one of the samplers, else nobody."""
        return self._iterator if has_state(self._iterator) else self._stateful

    def _anew(self, epoch: int, seed: int, held: Mapping[str, Any] | None) -> Iterator[Any]:
        if held:
            _give_held(self._parts, held)
        self._held_at_start = _held(self._parts)
        self._generators = OwnGenerators(derived(seed, epoch, "sampler"))
        self._drawn, self._ended = 0, False
        with self._generators:
            self._iterator = iter(self._source)
        return self._draw()

    def _restored(self, epoch: int, seed: int, state: Mapping[str, Any]) -> Iterator[Any]:
        self._held_at_start = dict(state.get("held_at_start") or {})
        pending = list(state.get("pending") or [])
        drawn, first = int(state.get("drawn") or 0), state.get("first")
        ended = bool(state.get("ended"))
        if drawn and not ended and self._begins_anew(epoch, seed, state["state"], first):
            log.warning(
                "the %s begins its epoch anew although its state was loaded: %d batches of indices are skipped "
                "instead; its __iter__ has to go on where load_state_dict() put it",
                self.kind,
                drawn,
            )
            return itertools.chain(pending, itertools.islice(self._anew(epoch, seed, self._held_at_start), drawn, None))
        self._generators = OwnGenerators(derived(seed, epoch, "sampler"))
        if state.get("generators") is not None:
            self._generators.restore(state["generators"])
        _give_held(self._parts, state.get("held_now") or {})
        self._iterator = self._opened(self._generators, state["state"], ended=ended)
        self._drawn, self._first, self._ended = drawn, first, ended
        return itertools.chain(pending, iter(()) if ended else self._draw())

    def _begins_anew(self, epoch: int, seed: int, state: Any, first: Any) -> bool:
        """Whether an iterator gives the epoch's first batch again although the state was loaded."""
        _give_held(self._parts, self._held_at_start)
        generators = OwnGenerators(derived(seed, epoch, "sampler"))
        iterator = self._opened(generators, state)
        with generators:
            return repr(next(iterator, None)) == repr(first)

    def _opened(self, generators: OwnGenerators, state: Any, *, ended: bool = False) -> Iterator[Any]:
        """An iterator of what was given its state."""
        if self._stateful is not None:
            self._given(self._stateful, state)
        if ended:
            return iter(())
        with generators:
            iterator: Iterator[Any] = iter(self._source)
        if self._stateful is None:
            self._given(iterator, state)
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
            if self._drawn == 0:
                self._first = batch
            self._drawn += 1
            yield batch
            if self._draws_once:
                yield from iterator
                break
        self._ended = True


def _parts(source: Any) -> list[Any]:
    """A batch sampler and the samplers in it, from the outside."""
    parts = [source]
    while len(parts) < 9:
        inner = getattr(parts[-1], "batch_sampler", None) or getattr(parts[-1], "sampler", None)
        if inner is None or isinstance(inner, list | tuple | range) or any(inner is part for part in parts):
            break
        parts.append(inner)
    return parts


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
    return "held" in state
