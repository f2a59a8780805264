"""A recording, line by line: what a training was at each step, and when it saved, read a checkpoint or was killed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec

from ckpt.records import Record

Digests = dict[str, str]
"""Name to digest, or to the value itself where it is a number."""

UNSEEN = "not compared: "
"""Begins the digest of what cannot be looked into."""


class Step(Record, frozen=True, kw_only=True, tag="step", tag_field="kind"):
    """The training after one step."""

    step: int
    epoch: float
    parts: dict[str, Digests]
    """By part (`random`, `loss`, `optimizer`, …); a part that was not known yet is not there."""
    batches: list[Digests] = msgspec.field(default_factory=list)
    """The batches that loaders gave since the step before, in their order."""


class Event(Record, frozen=True, kw_only=True, tag="event", tag_field="kind"):
    """Something else that the training did."""

    what: Literal["began", "asks", "forced", "saved", "read", "killed", "ended", "another"]
    """`asks` that the training asks whether to save; `forced` that the self-test has it save; `read` is a checkpoint
    that was loaded; `ended` that the training got as far as it should; `another` that a second training of the same
    process made a step."""
    step: int | None = None
    """Of the checkpoint, or of the training."""
    positions: bool = False
    """Of `saved` and `read`: whether loaders told their positions in the data, or were given them back."""


Line = Step | Event
_decoder = msgspec.json.Decoder(Line)


class Recording(Record, frozen=True, kw_only=True):
    """What one start of a training did."""

    steps: dict[int, Step]
    events: tuple[Event, ...]
    later: dict[int, tuple[Step, ...]] = msgspec.field(default_factory=dict)
    """What it told further on without another step, such as at the end of an epoch."""
    went_on_from: int | None = None
    """The step of the checkpoint that was read before the first step was made; None when none was."""

    def has(self, what: str) -> bool:
        """Whether there is an event of a kind."""
        return any(event.what == what for event in self.events)

    def of(self, what: str) -> list[int]:
        """The steps of all events of a kind, in their order."""
        return [event.step for event in self.events if event.what == what and event.step is not None]

    def at(self, step: int) -> tuple[Step, ...]:
        """All that was told of a step, in its order."""
        return (self.steps[step], *self.later.get(step, ())) if step in self.steps else ()

    @property
    def own_saves(self) -> list[int]:
        """The steps that the training saved by itself and that another step comes behind, in their order."""
        forced = self.of("forced")
        return sorted({step for step in self.of("saved") if step not in forced and step != self.last})

    def has_positions(self, what: str, step: int | None) -> bool:
        """Whether at an event of a kind and a step there were positions of loaders."""
        return any(event.positions for event in self.events if event.what == what and event.step == step)

    def epoch_ends(self) -> frozenset[int]:
        """The steps behind which the epoch is over and another step comes; epochs may be counted in fractions."""
        epochs = {step: self.steps[step].epoch for step in sorted(self.steps)}
        in_fractions = any(epoch % 1 for epoch in epochs.values())
        return frozenset(
            step
            for step, following in pairwise(epochs)
            if (epochs[step] % 1 == 0 if in_fractions else epochs[step] != epochs[following])
        )

    @property
    def last(self) -> int | None:
        """The last step."""
        return max(self.steps, default=None)


def encode(line: Line) -> bytes:
    """A line of a recording."""
    return msgspec.json.encode(line) + b"\n"


def read(path: Path) -> Recording:
    """A recording, as far as it was written; an empty one when there is no file. Raises OSError."""
    steps: dict[int, Step] = {}
    later: dict[int, tuple[Step, ...]] = {}
    events: list[Event] = []
    went_on_from: int | None = None
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        lines = []
    for text in lines[:-1]:
        line = _decoder.decode(text)
        if isinstance(line, Event):
            events.append(line)
            if line.what == "read" and not steps:
                went_on_from = line.step
        elif line.step in steps:
            later[line.step] = (*later.get(line.step, ()), line)
        else:
            steps[line.step] = line
    return Recording(steps=steps, later=later, events=tuple(events), went_on_from=went_on_from)
