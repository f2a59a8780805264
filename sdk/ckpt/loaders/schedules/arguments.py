"""The arguments of a schedule as its order: checked, with what would work where something does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.exceptions import UsageError
from ckpt.loaders.schedules.strategies import LENGTHS, STRATEGIES, Turns
from ckpt.retention.spelling import nearest

Name = str | int


def named_loaders(loaders: Any) -> dict[Name, Any]:
    """Loaders by name, or by number for those of a sequence. Raises UsageError for none, and for names that are no
    text.
    """
    if isinstance(loaders, Mapping):
        found: dict[Name, Any] = dict(loaders)
        if wrong := [name for name in found if not isinstance(name, str)]:
            raise UsageError(f"loaders has the name {wrong[0]!r:.80}, and names are text")
    elif isinstance(loaders, Sequence) and not isinstance(loaders, str | bytes):
        found = dict(enumerate(loaders))
    else:
        raise UsageError(
            f"loaders is a {type(loaders).__name__}, not several loaders",
            hint='LoaderSchedule([a, b]) or LoaderSchedule({"a": a, "b": b})',
        )
    if not found:
        raise UsageError("a schedule needs at least one loader")
    return found


def turns_of(names: Sequence[Name], strategy: Any, length: Any, weights: Any = None, pattern: Any = None) -> Turns:
    """The order that arguments mean. Raises UsageError for those that mean none."""
    if strategy not in STRATEGIES:
        raise _none_of("strategy", strategy, STRATEGIES)
    if length is None:
        length = "once" if strategy == "sequential" else "longest"
    is_count = isinstance(length, int) and not isinstance(length, bool)
    if is_count and length < 1:
        raise UsageError(f"epoch_length is {length}, and an epoch has at least one batch")
    if not is_count and length not in LENGTHS:
        raise _none_of("epoch_length", length, LENGTHS, " or a number of batches")
    for given, name, wanted in ((weights, "weights", "weighted"), (pattern, "pattern", "alternating")):
        if given is not None and strategy != wanted:
            raise UsageError(
                f"{name} are for the strategy {wanted}, and it is {strategy}"
                if name == "weights"
                else f"a {name} is for the strategy {wanted}, and it is {strategy}",
                hint=f'strategy="{wanted}", or no {name}',
            )
    everybody = tuple(range(len(names)))
    return Turns(
        strategy=strategy,
        length=length,
        loaders=len(names),
        pattern=everybody if pattern is None else _pattern(names, pattern),
        weights=_weights(names, weights) if strategy == "weighted" else (),
    )


def _weights(names: Sequence[Name], weights: Any) -> tuple[float, ...]:
    """One for each loader; all the same when none are given."""
    if weights is None:
        return (1.0,) * len(names)
    if isinstance(weights, Mapping):
        if set(weights) != set(names):
            raise UsageError(f"weights are for {_listed(weights)}, and the loaders are {_listed(names)}")
        weights = [weights[name] for name in names]
    try:
        found = [float(weight) for weight in weights]
    except (TypeError, ValueError):
        raise UsageError(f"weights are {weights!r:.80}, and have to be one number for each loader") from None
    if len(found) != len(names):
        raise UsageError(f"{len(found)} weights were given for {len(names)} loaders: {_listed(names)}")
    for name, weight in zip(names, found, strict=True):
        if not math.isfinite(weight) or weight < 0:
            raise UsageError(f"the weight of loader {name!r} is {weight}, and has to be a number from 0 on")
    if not sum(found) or not math.isfinite(sum(found)):
        raise UsageError(f"the weights of {_listed(names)} add up to {sum(found)}: no loader could be drawn")
    return tuple(found)


def _pattern(names: Sequence[Name], pattern: Any) -> tuple[int, ...]:
    """Numbers of loaders, from names or numbers. Each loader has to have a turn."""
    if isinstance(pattern, str) or not isinstance(pattern, Sequence):
        raise UsageError(
            f"pattern is {pattern!r:.80}, and has to be a list of loaders", hint=f"for instance {list(names)}"
        )
    for entry in pattern:
        if entry not in names or isinstance(entry, bool):
            raise UsageError(
                f"pattern has {entry!r:.80}, which is no loader",
                hint=nearest(str(entry), [str(name) for name in names], f"loaders: {_listed(names)}"),
            )
    if missing := [name for name in names if name not in pattern]:
        raise UsageError(f"loader {missing[0]!r} has no turn in the pattern", hint="leave it out of the loaders too")
    return tuple(list(names).index(entry) for entry in pattern)


def quota_of(turns: Turns, lengths: Mapping[Name, int | None]) -> int | None:
    """How many batches each loader gives in its block; None where the order needs no lengths.

    Raises UsageError for a loader that does not tell its length where it is needed.
    """
    if not turns.needs_lengths:
        return None
    for name, length in lengths.items():
        if length is None:
            raise UsageError(
                f"loader {name!r} does not tell its length, and one after the other to the {turns.length} needs it",
                hint='epoch_length="once" or a number of batches needs no lengths; strategy="round_robin" none either',
            )
    known = [length for length in lengths.values() if length is not None]
    return min(known) if turns.length == "shortest" else max(known)


def _none_of(what: str, value: Any, known: Sequence[str], besides: str = "") -> UsageError:
    near = nearest(value, known, "") if isinstance(value, str) else ""
    return UsageError(f"{what} is {value!r:.80}, and has to be one of {', '.join(known)}{besides}", hint=near or None)


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
