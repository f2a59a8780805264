"""One way in which a framework arranges what it saves: where epoch, step, metrics, configuration and states stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ckpt.formats.meanings.roles import Role
from ckpt.formats.meanings.scalars import Scalars

Mode = Literal["min", "max"]


@dataclass(slots=True)
class Told:
    """What a framework's own rule finds where a place is not enough; what it leaves empty, the places say."""

    epoch: float | None = None
    monitor: str | None = None
    mode: Mode | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    topology: dict[str, int] = field(default_factory=dict)


Rule = Callable[[Mapping[Any, Any], Scalars], Told]


@dataclass(frozen=True)
class Layout:
    """A row of the table. A file is of it when all `keys` stand at its top and something stands at each of `holds`.

    Every place is written as `places.at` reads it; of several the first that holds a fitting value wins.
    """

    framework: str
    keys: frozenset[str]
    holds: tuple[str, ...] = ()
    epoch: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    loss: tuple[str, ...] = ()
    learning_rate: tuple[str, ...] = ()
    saved_at: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """Mappings whose numbers are metrics."""
    measured: Mapping[str, str] = field(default_factory=dict)
    """Single metrics: the place of each by its name."""
    config: tuple[str, ...] = ()
    """Mappings of hyper-parameters, or texts of them, shown as lines: the first mapping is shown as it is, the others
    and the texts under their own names."""
    states: Mapping[str, Role] = field(default_factory=dict)
    """What stands at a place, where the key alone does not tell or tells wrongly."""
    topology: tuple[tuple[str, str], ...] = ()
    """How the training was spread: a name and a place each."""
    report: str = ""
    """Place of the writer's own report of what it captured and what it left out."""
    epoch_finished: str = ""
    """Place of whether the epoch was over, after which no position in the data is needed."""
    phase: str = ""
    """Place of where in its epoch the training stood."""
    monitor: tuple[str, ...] = ()
    """Places of the name of the metric that the framework compares by."""
    best: tuple[str, Mode] | None = None
    """That metric and which of its values are better, where every file of the framework has the same."""
    rule: Rule | None = None
