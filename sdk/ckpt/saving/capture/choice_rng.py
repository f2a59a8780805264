"""The generator by which a schedule chooses among its loaders: it stands once in a file, at the top. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.saving.envelope.places import is_schedule

_KEY = "choice_rng"
_LIFTED = "choice_rng_lifted"


def lifted(states: Sequence[Any]) -> tuple[list[Any], Any]:
    """The states of loaders without the generator of the first schedule that has one, and that generator's state.

    Those of other schedules stay where they are. None where nobody has one.
    """
    for i, state in enumerate(states):
        if is_schedule(state) and state.get(_KEY) is not None:
            return [*states[:i], {**state, _KEY: None, _LIFTED: True}, *states[i + 1 :]], state[_KEY]
    return list(states), None


def put_back(states: Sequence[Any] | None, choice: Any) -> list[Any] | None:
    """The states with the generator where `lifted` took it from."""
    if states is None or choice is None:
        return None if states is None else list(states)
    return [
        {**{key: value for key, value in state.items() if key != _LIFTED}, _KEY: choice}
        if isinstance(state, Mapping) and state.get(_LIFTED) is True and state.get(_KEY) is None
        else state
        for state in states
    ]
