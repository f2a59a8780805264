"""Objects of a training beside the states that they are to take: matched, given, and taken back on a refusal."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from ckpt.exceptions import CheckpointError, CkptError
from ckpt.saving.capture.protocol import give_state, has_state, several, state_of
from ckpt.saving.envelope.plain import from_plain
from ckpt.saving.restore.fitting import by_names, unfit_optimizer, unfit_scheduler
from ckpt.saving.restore.interrupts import interrupts_wait
from ckpt.telling import one_line

_REFUSALS = (CkptError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, OSError)
"""What objects raise that cannot tell or take a state."""


@dataclass(frozen=True)
class Pair:
    """One object and the state that it is to take."""

    kind: str
    item: Any
    state: Any


@dataclass(frozen=True)
class Matched:
    """Objects of one kind with their states, or what speaks against it."""

    pairs: tuple[Pair, ...] = ()
    problems: tuple[str, ...] = ()


def match(kind: str, objects: Any, states: Sequence[Any] | None, saved_names: Sequence[str] = ()) -> Matched:
    """Objects with their states, by name where either side has names, else by their order. Pure."""
    if objects is None:
        return Matched()
    items, names = several(objects)
    saved = list(states or ())
    if not saved:
        return Matched(problems=(f"no {kind} state was saved",))
    order = _order(kind, names, len(items), saved_names if len(saved_names) == len(saved) else (), len(saved))
    if isinstance(order, str):
        return Matched(problems=(order,))
    saved = [saved[i] for i in order]
    if len(items) != len(saved):
        return Matched(problems=(f"{len(saved)} {kind} states were saved, {len(items)} are wanted",))
    found = [Pair(kind, item, state) for item, state in zip(items, saved, strict=True)]
    problems = tuple(problem for pair in found if (problem := _unfit(pair)) is not None)
    return Matched(problems=problems) if problems else Matched(tuple(found))


def match_registered(registered: Mapping[str, Any], captured: Mapping[str, Any] | None) -> Matched:
    """Registered objects with the states captured under their names. Pure."""
    captured = captured or {}
    problems = [f"no state of '{name}' was saved" for name in registered if name not in captured]
    found = [Pair(f"'{name}'", item, captured[name]) for name, item in registered.items() if name in captured]
    problems += [problem for pair in found if (problem := _unfit(pair)) is not None]
    return Matched(tuple(pair for pair in found if _unfit(pair) is None), tuple(problems))


def _order(kind: str, names: Sequence[str] | None, wanted: int, saved_names: Sequence[str], saved: int) -> Any:
    """Places of the saved states in the order of the objects, or what speaks against it. Those of a list are numbers.

    One object takes one state whatever they are called.
    """
    if (names is None and not saved_names) or (wanted == saved == 1 and (names is None or not saved_names)):
        return range(saved)
    have = list(saved_names or map(str, range(saved)))
    own = list(names if names is not None else map(str, range(wanted)))
    if set(have) == set(own):
        return [have.index(name) for name in own]
    if names is not None and saved_names:
        return f"{kind}s {', '.join(have)} were saved, {', '.join(own)} are wanted"
    if saved_names:
        return f"{kind}s {', '.join(have)} were saved, {wanted} without names are wanted: which is which is not known"
    return f"{saved} {kind} states without names were saved, {', '.join(own)} are wanted: which is which is not known"


def _unfit(pair: Pair) -> str | None:
    if not has_state(pair.item):
        return f"the {pair.kind} is a {type(pair.item).__name__}, which has no load_state_dict()"
    if isinstance(getattr(pair.item, "param_groups", None), list) and isinstance(pair.state, Mapping):
        return unfit_optimizer(pair.item, pair.state)
    return unfit_scheduler(pair.item, pair.state)


def give_all(pairs: Sequence[Pair], *, strict: bool = True) -> tuple[list[Pair], list[Pair], list[str]]:
    """Gives each object its state. Returns those that took it, what they had before, and what is to be told.

    With `strict` CheckpointError is raised when one refuses, and all are as they were; without, that one alone is.
    When it is interrupted, all are as they were too.
    """
    given: list[Pair] = []
    before: list[Pair] = []
    notes: list[str] = []
    for pair in pairs:
        own = _own_state(pair)
        if own is not None:
            before.append(own)
        try:
            give_state(pair.item, _by_names(pair))
        except Exception as error:
            if strict:
                told = refusal(take_back(before) + ([pair.kind] if own is None else []))
                raise CheckpointError(f"the {pair.kind} refused its state: {_line(error)}", hint=told) from error
            left = take_back([before.pop()]) if own is not None else [pair.kind]
            unknown = "; what it holds now is not known" if left else ""
            notes.append(f"the {pair.kind} refused its state: {_line(error)}{unknown}")
        except BaseException:
            take_back(before)
            raise
        else:
            given.append(pair)
    return given, before, notes


def _line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(one_line(error).split())[:300]


def _by_names(pair: Pair) -> Any:
    fits = isinstance(pair.item, torch.optim.Optimizer) and isinstance(pair.state, Mapping)
    return by_names(pair.item, pair.state) if fits else pair.state


def take_back(before: Sequence[Pair]) -> list[str]:
    """Gives objects what they had, the last one first. Returns what refused that too."""
    left: list[str] = []
    for pair in reversed(before):
        try:
            with interrupts_wait():
                give_state(pair.item, pair.state)
        except BaseException:  # noqa: BLE001
            # Whatever it is, the others are to be put back too, and what led here is raised again.
            left.append(pair.kind)
    return left


def refusal(left: Sequence[str]) -> str:
    """What is to be told besides that something refused its state; `left` could not be put back."""
    if not left:
        return "all is as it was; build it as it was when it was saved"
    return f"all else is as it was; what the {' and the '.join(left)} hold now is not known"


def _own_state(pair: Pair) -> Pair | None:
    """What an object holds now, as a copy that giving it another state does not change; None when it cannot tell.

    An optimizer takes new tensors and leaves the old ones as they are, so those need no copy.
    """
    try:
        state = from_plain(state_of(pair.item, pair.kind))
    except _REFUSALS:
        return None
    return Pair(pair.kind, pair.item, state if isinstance(pair.item, torch.optim.Optimizer) else _cloned(state))


def _cloned(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value if is_lazy(value) else value.detach().clone()
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            value[key] = _cloned(item)
        return value
    if type(value) in (list, tuple):
        return type(value)(_cloned(item) for item in value)
    try:
        return copy.deepcopy(value)
    except _REFUSALS:
        return value
