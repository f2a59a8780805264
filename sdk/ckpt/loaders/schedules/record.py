"""The state of a schedule as a file has it, read and compared with the schedule that is to go on from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ckpt.exceptions import StateError
from ckpt.loaders.schedules.choices import generator_from
from ckpt.loaders.schedules.strategies import Progress, Turns, after_epoch

VERSION = 1

_HINT = "to go on, a schedule has to be built as it was when it was saved; without its state it begins anew"


@dataclass(frozen=True, eq=False, kw_only=True)
class ScheduleState:
    """Where a schedule stands, read from its state."""

    loaders: Sequence[Mapping[str, Any]]
    """The loaders' own states."""
    cycles: list[int]
    """How often each came to its end."""
    progress: Progress
    total: int
    """Batches given in all epochs."""
    choices: np.random.RandomState | None
    seed: int | None
    epoch: int
    """The epoch that is under way or next."""
    is_open: bool
    exhausted: bool
    """Whether it is known that no batch of the epoch is left: by asking, not from the loaders' lengths."""
    start: Mapping[str, Any] | None
    """The state that the epoch began with."""

    @classmethod
    def of(cls, state: Any, turns: Turns, names: Sequence[str | int]) -> Self:
        """What a state means for a schedule of this order. Raises StateError for one of another, and for damage.

        That of the first batch of an epoch that is under way is the one that the epoch began with.
        """
        state = iterator_state(state)
        check_setup(turns, names, state)
        start = state.get("at_start")
        exhausted = state.get("exhausted") is True
        if state.get("epoch_open") is True and state.get("schedule_position") == 0 and not exhausted:
            state = start = state if start is None else start
            check_setup(turns, names, state)
        progress = progress_from(turns, state)
        seed = state.get("seed")
        is_open = state.get("epoch_open", progress.position > 0) is True
        if not is_open:
            progress = after_epoch(turns, progress)
        return cls(
            loaders=state["loader_states"],
            cycles=cycles_from(turns, state),
            progress=progress,
            total=count(state.get("total_batches") or 0, "total_batches"),
            choices=generator_from(state.get("choice_rng")),
            seed=None if seed is None else whole(seed, "seed of the schedule"),
            epoch=count(state.get("epoch", 0), "epoch"),
            is_open=is_open,
            exhausted=exhausted and state.get("unasked") is not True,
            start=dict(start) if isinstance(start, Mapping) else None,
        )


def iterator_state(state: Any) -> Any:
    """The state of a schedule itself, out of that of a manager of all loaders as the format's document has it."""
    train = state.get("train_iterator_state") if isinstance(state, Mapping) else None
    if not isinstance(train, Mapping):
        return state
    choices = next((state[key] for key in ("choice_rng", "choice_rng_state") if state.get(key) is not None), None)
    return {**train, "choice_rng": train.get("choice_rng", choices)}


def setup_of(turns: Turns, names: Sequence[str | int]) -> dict[str, Any]:
    """What two schedules have to have in common, by the name of the argument."""
    return {
        "loaders": list(names),
        "strategy": turns.strategy,
        "epoch_length": turns.length,
        "weights": list(turns.weights) or None,
        "pattern": list(turns.pattern) if turns.strategy == "alternating" else None,
    }


def check_setup(turns: Turns, names: Sequence[str | int], state: Mapping[str, Any]) -> None:
    """Raises StateError, saying both, for the state of a schedule of other loaders or of another order.

    A state that does not tell its order, as the format's document has it, is compared by the number of loaders.
    """
    if not isinstance(state, Mapping) or not isinstance(state.get("loader_states"), list | tuple):
        raise StateError("this is not the state of a schedule: it has no loader_states")
    version = state.get("version", VERSION)
    if version != VERSION:
        raise StateError(f"the schedule's state has version {version!r:.40}, and this version reads {VERSION}")
    for what, own in setup_of(turns, names).items():
        saved = state.get(what, own)
        saved = list(saved) if isinstance(saved, tuple) else saved
        if saved != own:
            raise StateError(
                f"the schedule was saved with {what} {_shown(saved)}, and is built with {_shown(own)}", hint=_HINT
            )
    count = len(state["loader_states"])
    if count != len(names):
        raise StateError(f"the schedule was saved with {count} loaders, and is built with {len(names)}", hint=_HINT)


def progress_from(turns: Turns, state: Mapping[str, Any]) -> Progress:
    """How far the epoch is by a state; what the format's document does not have is told from the rest.

    Raises StateError for what is no number.
    """
    loaders = range(turns.loaders)
    states = state["loader_states"]
    position = count(state.get("schedule_position"), "schedule_position")
    given = state.get("given")
    if given is None:
        given = [count(_get(states[i], "batch_idx"), "batch_idx") for i in loaders]
    through = state.get("through")
    if through is None:
        cycles = cycles_from(turns, state)
        through = [i for i in loaders if cycles[i] or _get(states[i], "exhausted") is True]
    turn = state.get("turn")
    if turn is None:
        turn = len(through) if turns.in_blocks else position
    return Progress(
        position=position,
        turn=count(turn, "turn"),
        given=[count(value, "given") for value in _several(given, turns, "given")],
        through={count(value, "through") for value in through},
    )


def cycles_from(turns: Turns, state: Mapping[str, Any]) -> list[int]:
    """How often each loader came to its end."""
    cycles = state.get("loader_cycles") or {}
    if not isinstance(cycles, Mapping):
        raise StateError(f"loader_cycles of the schedule is a {type(cycles).__name__}, not a mapping")
    return [count(cycles.get(i, cycles.get(str(i), 0)), "loader_cycles") for i in range(turns.loaders)]


def count(value: Any, what: str) -> int:
    """A number from 0 on. Raises StateError for anything else."""
    return whole(value, f"{what} of the schedule", least=0)


def whole(value: Any, what: str, least: int | None = None) -> int:
    """A whole number. Raises StateError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        from_on = "" if least is None else f", {least} or more"
        raise StateError(f"{what} is {value!r:.80}, and has to be a whole number{from_on}")
    return value


def prefetched(state: Mapping[str, Any]) -> int:
    """Batches that a loader read ahead, by its state; 0 where that does not tell."""
    found = state.get("prefetched", state.get("prefetched_batches"))
    return found if isinstance(found, int) else 0


def _several(values: Any, turns: Turns, what: str) -> Sequence[Any]:
    if not isinstance(values, list | tuple) or len(values) != turns.loaders:
        raise StateError(
            f"{what} of the schedule is {values!r:.80}, not one number for each of {turns.loaders} loaders"
        )
    return values


def _get(state: Any, key: str) -> Any:
    return state.get(key) if isinstance(state, Mapping) else None


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
