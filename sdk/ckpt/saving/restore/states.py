"""Objects of a training beside the states that they are to take: matched, given, and taken back on a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ckpt.exceptions import CheckpointError, CkptError
from ckpt.saving.capture.protocol import give_state, has_state, several, state_of
from ckpt.saving.envelope.plain import from_plain

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
    """Objects with their states, by name where both have names, else by their order. Pure."""
    if objects is None:
        return Matched()
    items, names = several(objects)
    saved = list(states or ())
    if not saved:
        return Matched(problems=(f"no {kind} state was saved",))
    if names is not None and len(saved_names) == len(saved):
        if set(names) != set(saved_names):
            told = f"{kind}s {', '.join(saved_names)} were saved, {', '.join(names)} are wanted"
            return Matched(problems=(told,))
        by_name = dict(zip(saved_names, saved, strict=True))
        saved = [by_name[name] for name in names]
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


def _unfit(pair: Pair) -> str | None:
    if not has_state(pair.item):
        return f"the {pair.kind} is a {type(pair.item).__name__}, which has no load_state_dict()"
    groups = getattr(pair.item, "param_groups", None)
    if pair.kind == "optimizer" and isinstance(groups, list) and isinstance(pair.state, Mapping):
        try:
            saved = [len(group.get("params", ())) for group in pair.state.get("param_groups", ())]
        except (AttributeError, TypeError):
            return "the optimizer state has no groups of parameters"
        own = [len(group["params"]) for group in groups]
        if saved != own:
            return f"the optimizer state has groups of {saved} parameters, the optimizer of {own}"
        return _unfit_moments(pair, groups) if type(pair.item).__module__.startswith("torch.optim") else None
    return None


def _unfit_moments(pair: Pair, groups: list[Any]) -> str | None:
    """What speaks against the tensors that an optimizer keeps for each parameter: those of another size."""
    moments = pair.state.get("state")
    if not isinstance(moments, Mapping):
        return "the optimizer state has no states of parameters"
    numbers = [number for group in pair.state["param_groups"] for number in group.get("params", ())]
    own = [parameter for group in groups for parameter in group["params"]]
    for number, parameter in zip(numbers, own, strict=True):
        held = moments.get(number)
        for name, value in held.items() if isinstance(held, Mapping) else ():
            if name in _LIKE_PARAMETERS and isinstance(value, torch.Tensor) and value.shape != parameter.shape:
                shapes = f"{list(value.shape)} in the checkpoint, {list(parameter.shape)} in the training"
                return f"the optimizer's {name} of parameter {number}: {shapes}"
    return None


_LIKE_PARAMETERS = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg"})
"""What torch's optimizers keep in the shape of a parameter, and do not check when they take it."""


def give_all(pairs: Sequence[Pair]) -> list[Pair]:
    """Gives each object its state. Returns pairs of what they had before, for `take_back`.

    Raises CheckpointError when one refuses; then all are as they were.
    """
    before: list[Pair] = []
    for pair in pairs:
        own = _own_state(pair)
        if own is not None:
            before.append(own)
        try:
            give_state(pair.item, pair.state)
        except Exception as error:
            told = refusal(take_back(before))
            raise CheckpointError(f"the {pair.kind} refused its state: {error}", hint=told) from error
    return before


def take_back(before: Sequence[Pair]) -> list[str]:
    """Gives objects what they had, the last one first. Returns what refused that too."""
    left: list[str] = []
    for pair in reversed(before):
        try:
            give_state(pair.item, pair.state)
        except _REFUSALS:
            left.append(pair.kind)
    return left


def refusal(left: Sequence[str]) -> str:
    """What is to be told besides that something refused its state; `left` could not be put back."""
    if not left:
        return "nothing was changed; build it as it was"
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
        return value.detach().clone()
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _cloned(item)
        return value
    if type(value) in (list, tuple):
        return type(value)(_cloned(item) for item in value)
    return value
