"""The state of a schedule as a file has it, read and compared with the schedule that is to go on from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.exceptions import StateError
from ckpt.loaders.schedules.strategies import Progress, Turns

VERSION = 1

_HINT = "to go on, a schedule has to be built as it was when it was saved; without its state it begins anew"


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
    if type(value) is not int or value < 0:
        raise StateError(f"{what} of the schedule is {value!r:.80}, not a number of batches")
    return value


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
