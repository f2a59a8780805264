"""The states that one checkpoint holds, apart from how a file arranges them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ckpt.saving.envelope.migration import Migration
from ckpt.saving.envelope.report import CaptureReport
from ckpt.state import TrainingState

FORMAT_VERSION = 1

Phase = Literal["training", "validation", "between"]
"""Where in an epoch a training stands: in its training, in its validation, or between two epochs."""


class Columns(dict[str, list[Any]]):
    """Lists of Python's own numbers and None by name: a hundred thousand of them that nobody needs to look at again."""


@dataclass
class Content:
    """The states that one checkpoint holds. What was not captured is None."""

    weights: Mapping[str, Any]
    state: TrainingState
    optimizers: list[Any] | None = None
    schedulers: list[Any] | None = None
    scaler: Any = None
    random: Any = None
    """The random states of the process that saved: rank 0."""
    random_by_rank: list[Any] | None = None
    """Those of all processes, by rank."""
    loaders: list[Any] | None = None
    loader_manager: Mapping[str, Any] | None = None
    """The state of one object that looks after all loaders, where there is one."""
    loaders_by_rank: list[Any] | None = None
    """The loaders' states of all processes, by rank, each in the order of `loaders`."""
    choice_random: Any = None
    """The generator that chooses among several loaders."""
    gradients: Mapping[str, Any] | None = None
    """Those that counted, in the midst of an accumulation, by the names of their parameters; {} when none did."""
    early_stopping: Mapping[str, Any] | None = None
    """What the looks at the monitored metric amounted to."""
    captured: dict[str, Any] | None = None
    """States of registered objects by name."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """Names of `models`, `optimizers`, `schedulers`, `loaders`, in the order of their states, where they have some."""
    metrics_history: dict[str, Any] | None = None
    model_config: Mapping[str, Any] | None = None
    config_snapshot: Mapping[str, Any] | None = None
    epoch_finished: bool | None = None
    """Whether the epoch was over; None when nobody said."""
    phase: Phase | None = None
    """Where in the epoch the training stood; None when that is not known."""
    resume: dict[str, Any] = field(default_factory=dict)
    """What `resume_state` holds besides; after reading all of it."""
    world_size: int | None = None
    """How many processes trained."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Versions and machine that the training ran with, by name; {} in files that do not tell."""
    report: CaptureReport | None = None
    """What was captured and what was left out; None in files of older layouts."""
    migration: Migration | None = None
    """What was found where, when the file is of an older layout or of another maker."""
