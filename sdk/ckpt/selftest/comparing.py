"""Two recordings of the same training: what differs first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from ckpt.records import Record
from ckpt.selftest.recording_file import Digests, Recording, Step

Between = Literal["starts", "resume"]
_CAUSAL = ("random", "loss", "optimizer", "scheduler", "scaler", "registered", "weights")
"""The parts of a step behind its batches, what comes first in time first: a loss differs before it changes weights."""


class Difference(Record, frozen=True, kw_only=True):
    """The first thing in which two recordings differ."""

    step: int
    what: str
    """batch, random, loss, optimizer, scheduler, scaler, registered or weights."""
    name: str
    """Of the tensor, generator or number in it."""
    reference: str | None
    """Its digest, or the number itself; None when there is no such thing."""
    resumed: str | None
    between: Between
    """Two uninterrupted starts, which resuming has no part in, or the reference and the resumed training."""
    after: int
    """How many steps were the same before this one."""


class Comparison(Record, frozen=True, kw_only=True):
    """What came of comparing two recordings."""

    compared: int
    """How many steps were compared, up to the first difference."""
    difference: Difference | None
    batches_seen: bool
    """Whether loaders told of their batches."""


def compare(
    reference: Recording,
    other: Recording,
    *,
    between: Between,
    unseeded: Collection[str] = (),
    until: int | None = None,
) -> Comparison:
    """Compares all steps that both have, up to `until`; generators in `unseeded` are passed over.

    Of the first step of a resumed training the batches are compared from the last one backwards, because what came
    before it in the step was given before the kill.
    """
    steps = [step for step in sorted(other.steps) if until is None or step <= until]
    compared, seen = 0, False
    for step in steps:
        theirs, ours = reference.steps.get(step), other.steps[step]
        if theirs is None:
            continue
        seen = seen or bool(ours.batches and theirs.batches)
        trailing = between == "resume" and step == steps[0]
        found = next(_differing(theirs, ours, unseeded, trailing=trailing), None)
        if found is not None:
            what, name, a, b = found
            difference = Difference(
                step=step, what=what, name=name, reference=a, resumed=b, between=between, after=compared
            )
            return Comparison(compared=compared + 1, difference=difference, batches_seen=seen)
        compared += 1
    return Comparison(compared=compared, difference=None, batches_seen=seen)


def unseeded(reference: Recording, other: Recording) -> tuple[str, ...]:
    """The generators that two starts of a training do not begin alike, so that nothing follows from their states."""
    first = min(reference.steps.keys() & other.steps.keys(), default=None)
    if first is None:
        return ()
    a, b = (recording.steps[first].parts.get("random", {}) for recording in (reference, other))
    return tuple(name for name in a if name in b and a[name] != b[name])


def moving(recording: Recording, generators: Collection[str]) -> tuple[str, ...]:
    """Those of the generators from which the training draws."""
    states = [step.parts.get("random", {}) for step in recording.steps.values()]
    return tuple(name for name in generators if len({state.get(name) for state in states}) > 1)


def _differing(
    reference: Step, other: Step, unseeded: Collection[str], *, trailing: bool
) -> Iterator[tuple[str, str, str | None, str | None]]:
    yield from _batches(reference.batches, other.batches, trailing=trailing)
    for part in _CAUSAL:
        # Before its first save a training may not have told all of its objects.
        if part in reference.parts and part in other.parts:
            passed = unseeded if part == "random" else ()
            for name, a, b in _names(reference.parts[part], other.parts[part]):
                if name not in passed:
                    yield part, name, a, b


def _batches(
    reference: list[Digests], other: list[Digests], *, trailing: bool
) -> Iterator[tuple[str, str, str | None, str | None]]:
    if trailing:
        common = min(len(reference), len(other))
        reference, other = reference[len(reference) - common :], other[len(other) - common :]
    elif len(reference) != len(other):
        yield "batch", "number of batches", str(len(reference)), str(len(other))
    for a, b in zip(reference, other, strict=False):
        for name, left, right in _names(a, b):
            yield "batch", name, left, right


def _names(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[tuple[str, str | None, str | None]]:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            yield name, a.get(name), b.get(name)
