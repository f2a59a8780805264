"""Two recordings of the same training: what differs first. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal

from ckpt.records import Record
from ckpt.selftest.recording_file import UNSEEN, Digests, Recording, Step

Between = Literal["starts", "resume"]
_CAUSAL = ("random", "loss", "metrics", "optimizer", "scheduler", "scaler", "registered", "weights")
"""The parts of a step behind its batches, what comes first in time first: a loss differs before it changes weights."""
SETTINGS = "param_groups."
"""In the names of an optimizer's settings."""
NUMBER_OF_BATCHES = "number of batches"
"""The name of a difference in how many batches were read."""
_CLOCK = re.compile(
    r"(^|[^a-z])(time|times|s|sec|secs|seconds|ms|minutes|hours|elapsed|eta|duration|speed|throughput|fps|memory|mem)"
    r"($|[^a-z])|per_?sec|timestamp",
    re.IGNORECASE,
)


class Difference(Record, frozen=True, kw_only=True):
    """The first thing in which two recordings differ."""

    step: int
    what: str
    """steps, epoch, batch, random, loss, metrics, optimizer, scheduler, scaler, registered or weights."""
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
    parts: tuple[str, ...]
    """The parts that both told at some step, in the order of their comparison."""
    missing: tuple[str, ...] = ()
    """The parts that the first told and the second at no step."""
    unseen: tuple[str, ...] = ()
    """Names of values that could not be looked into."""

    @property
    def batches_seen(self) -> bool:
        """Whether loaders told of their batches."""
        return "batch" in self.parts


class Passed(Record, frozen=True, kw_only=True):
    """What differs between two starts of a training by itself, so that nothing follows from it."""

    generators: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def of(self, part: str, name: str) -> bool:
        """Whether a value is passed over; metrics that are named like times and speeds are too."""
        if part == "metrics":
            return name in self.metrics or _CLOCK.search(name) is not None
        return part == "random" and name in self.generators


def compare(
    reference: Recording,
    other: Recording,
    *,
    between: Between,
    passed: Passed | None = None,
    until: int | None = None,
    behind: int | None = None,
) -> Comparison:
    """Compares all steps up to the last that both have, behind the step `behind` and up to `until`.

    Of what a resumed training gave first the batches are compared from the last one backwards, because what came
    before it was given before the kill. Of the step `behind` only what was told last is compared, such as the end of
    an epoch which the resumed training came to again.
    """
    first = min(other.steps, default=0)
    last = min(reference.last or 0, other.last or 0) if until is None else until
    steps = [
        step
        for step in sorted(reference.steps.keys() | other.steps.keys())
        if (first if behind is None else min(first, behind + 1)) <= step <= last
    ]
    passed = passed or Passed()
    compared = 0
    both: dict[str, None] = {}
    theirs_alone: dict[str, None] = {}
    unseen: dict[str, None] = {}
    trailing = between == "resume"

    def result(difference: Difference | None) -> Comparison:
        return Comparison(
            compared=compared + (difference is not None),
            difference=difference,
            parts=tuple(both),
            missing=tuple(part for part in theirs_alone if part not in both),
            unseen=tuple(unseen),
        )

    for step in steps:
        theirs, ours = reference.at(step), other.at(step)
        if behind is not None and step <= behind:
            count = min(len(theirs), len(ours))
            theirs, ours = theirs[len(theirs) - count :], ours[len(ours) - count :]
        elif not theirs or not ours:
            made = "not made" if not theirs else "made", "not made" if not ours else "made"
            return result(_difference(step, ("steps", "step", *made), between, compared))
        for a, b in zip(theirs, ours, strict=False):
            both |= dict.fromkeys(_parts_of(a, b))
            theirs_alone |= dict.fromkeys(part for part in a.parts if part not in b.parts)
            unseen |= dict.fromkeys(_unseen(b))
            found = next(_differing(a, b, passed, trailing=trailing), None)
            if found is not None:
                return result(_difference(step, found, between, compared))
            trailing = False
        if step < last and len(theirs) != len(ours):
            told = "steps", "how often it is told of", str(len(theirs)), str(len(ours))
            return result(_difference(step, told, between, compared))
        compared += behind is None or step > behind
    return result(None)


def with_length(found: Comparison, reference: Recording, resumed: Recording) -> Comparison:
    """A comparison, with a difference in length where all that both have is the same."""
    if found.difference is not None or reference.last == resumed.last:
        return found
    last = min(reference.last or 0, resumed.last or 0)
    lengths = "steps", "last step", str(reference.last), str(resumed.last)
    longer: Comparison = found.evolve(difference=_difference(last + 1, lengths, "resume", found.compared))
    return longer


def passed_over(reference: Recording, other: Recording) -> Passed:
    """The generators that two starts do not begin alike, and the metrics that differ between them."""
    common = sorted(reference.steps.keys() & other.steps.keys())
    generators = _differing_names("random", [(reference.steps[step], other.steps[step]) for step in common[:1]])
    told = [pair for step in common for pair in zip(reference.at(step), other.at(step), strict=False)]
    return Passed(generators=generators, metrics=_differing_names("metrics", told))


def moving(recording: Recording, generators: Collection[str]) -> tuple[str, ...]:
    """Those of the generators from which the training draws."""
    states = [step.parts.get("random", {}) for step in recording.steps.values()]
    return tuple(name for name in generators if len({state.get(name) for state in states}) > 1)


def ends_an_epoch(resumed: Recording) -> bool:
    """Whether an epoch ended in the training."""
    return bool(resumed.later or resumed.epoch_ends())


def began_anew(reference: Recording, resumed: Recording) -> bool:
    """Whether a training that read a checkpoint made steps again that were made before it."""
    first, went_on_from = min(resumed.steps, default=None), resumed.went_on_from
    if first is None or went_on_from is None or first > went_on_from:
        return False
    # The end of an epoch is told with the number of its last step.
    return first < went_on_from or (
        first == min(reference.steps) and len(resumed.at(first)) >= len(reference.at(first))
    )


def _difference(step: int, found: tuple[str, str, str | None, str | None], between: Between, after: int) -> Difference:
    what, name, a, b = found
    return Difference(step=step, what=what, name=name, reference=a, resumed=b, between=between, after=after)


def _parts_of(a: Step, b: Step) -> Iterator[str]:
    yield "epoch"
    if a.batches and b.batches:
        yield "batch"
    yield from (part for part in _CAUSAL if part in a.parts and part in b.parts)


def _unseen(step: Step) -> Iterator[str]:
    for part, values in step.parts.items():
        yield from (f"{part} {name}" for name, text in values.items() if text.startswith(UNSEEN))


def _differing_names(part: str, pairs: Iterable[tuple[Step, Step]]) -> tuple[str, ...]:
    """The names in a part that differ in any pair of steps, of those that both have."""
    found: dict[str, None] = {}
    for a, b in pairs:
        left, right = a.parts.get(part, {}), b.parts.get(part, {})
        found |= dict.fromkeys(name for name in left if name in right and left[name] != right[name])
    return tuple(found)


def _differing(
    reference: Step, other: Step, passed: Passed, *, trailing: bool
) -> Iterator[tuple[str, str, str | None, str | None]]:
    if reference.epoch != other.epoch:
        yield "epoch", "epoch", str(reference.epoch), str(other.epoch)
    yield from _batches(reference.batches, other.batches, trailing=trailing)
    for part in _CAUSAL:
        # Before its first save a training may not have told all of its objects.
        if part in reference.parts and part in other.parts:
            differing = list(_names(reference.parts[part], other.parts[part]))
            # An optimizer's settings are made before its step, and so before the state that they change.
            for name, a, b in sorted(differing, key=lambda found: part == "optimizer" and SETTINGS not in found[0]):
                if not passed.of(part, name):
                    yield part, name, a, b


def _batches(
    reference: list[Digests], other: list[Digests], *, trailing: bool
) -> Iterator[tuple[str, str, str | None, str | None]]:
    if trailing:
        common = min(len(reference), len(other))
        reference, other = reference[len(reference) - common :], other[len(other) - common :]
    elif len(reference) != len(other):
        yield "batch", NUMBER_OF_BATCHES, str(len(reference)), str(len(other))
    for a, b in zip(reference, other, strict=False):
        for name, left, right in _names(a, b):
            yield "batch", name, left, right


def _names(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[tuple[str, str | None, str | None]]:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            yield name, a.get(name), b.get(name)
