"""What a run asks to be kept."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

import msgspec

from ckpt.exceptions import StateError
from ckpt.records import Record
from ckpt.refs import mode_for
from ckpt.retention.fields import RULES
from ckpt.retention.reading import given

Mode = Literal["min", "max"]

DEFAULT_MONITOR = "loss"
BUDGET_START, BUDGET_STOP = 0.85, 0.80
"""Shares of `max_bytes`: from the first on the oldest go, down to the second."""

_BY_NAME: Any = None  # stands for a direction that nobody gave until the policy is complete


class Monitor(NamedTuple):
    """A metric that decides what is best."""

    metric: str
    mode: Mode
    keep: int | None
    """How many of the best a rule keeps; None when no rule asks, and the best alone is held by the floor."""


class Policy(Record, frozen=True, kw_only=True):
    """The retention rules of a run. With no rule at all everything is kept.

    Texts are taken where people write them (`keep_within="36h"`), and held as numbers. Raises StateError when a value
    is out of range.
    """

    keep_last: int | None = None
    """Keep the N newest."""
    keep_best: int | None = None
    """Keep the N best by `monitor`."""
    monitor: str | None = None
    """Metric that decides what is best; None follows the run's own, else the loss."""
    mode: Mode = _BY_NAME
    """Direction of the monitor; left out, its name decides (losses and errors fall, the rest rises)."""
    unmonitored: bool = False
    """Whether a person said, by `monitor = "none"`, that there is no best here: none is held, and none is missed.
    With a monitor of None and this False nobody has said anything."""
    keep_every_n_epochs: int | None = None
    """Keep one checkpoint for every multiple of N epochs, as the training counts them: the last one of that epoch, or
    where there is none the closest to it."""
    keep_every_n_steps: int | None = None
    """Keep one checkpoint for every multiple of N steps, in the same way."""
    keep_best_of: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """More monitors: metric to {"keep": N, "mode": "min" | "max"}. The best of each is never removed."""
    keep_every: tuple[dict[str, float | None], ...] = ()
    """Keep the newest of every stretch of time: {"every": seconds, "within": seconds or None}, the shortest first.

    Stretches are aligned to UTC, multiples of their length since 1970, so that a closed one never changes what it
    keeps. `within` counts back from the newest checkpoint of the run; None is without end."""
    keep_within: float | None = None
    """Keep what was saved within so many seconds before the newest."""
    keep_steps: tuple[int, ...] = ()
    """Keep these steps, ascending."""
    keep_tagged: bool = False
    """Keep what a person tagged. The floor does that too; as the only rule it says that nothing else is wanted."""
    max_age: float | None = None
    """Keep what is younger than so many seconds now; the one rule that goes by the clock."""
    max_bytes: int | None = None
    """What no rule keeps stays as well while the run is below this: from 85 % of it on the oldest go, down to 80 %."""
    missing_metric: Literal["keep", "ignore"] = "keep"
    """Whether a checkpoint without the monitored metric waits for it, `metric_grace` long."""
    metric_grace: float = 3600.0
    """Seconds from the save on in which an evaluation may still come."""
    min_age: float = 3600.0
    """Seconds for which nothing of a foreign run is removed after it was touched last."""
    max_share: float = 0.5
    """Share of a run's checkpoints that may be removed unasked, where that has to be asked."""
    include_unknown: bool = False
    """Whether what is no known training checkpoint may go too; holds only where a policy names the run itself."""
    tag_best: bool = True
    """Whether `best` and `best-1` … are moved along."""
    keep_for: float = 86400.0
    """Seconds that a removed checkpoint waits in the trash."""

    def __post_init__(self) -> None:
        said = given({name: getattr(self, name) for name in self.__struct_fields__})
        if said.setdefault("unmonitored", False):
            said["monitor"] = None
            if self.keep_best is not None:
                raise StateError(
                    f'keep_best = {self.keep_best} and monitor = "none": without a metric there are no best ones',
                    hint="name a monitor, or switch keep_best off",
                )
        said.setdefault("mode", mode_for(said.get("monitor") or DEFAULT_MONITOR))
        best_of = said.get("keep_best_of") or {}
        said["keep_best_of"] = {metric: best for metric, best in best_of.items() if best is not None}
        for name, value in said.items():
            msgspec.structs.force_setattr(self, name, _OFF.get(name) if value is None else value)

    @property
    def metric(self) -> str:
        """The metric that decides what is best."""
        return self.monitor or DEFAULT_MONITOR

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        """The metrics whose best is never removed: the main one, unless there is none, then those of keep_best_of."""
        main = () if self.unmonitored else (Monitor(self.metric, self.mode, self.keep_best),)
        return (*main, *(Monitor(name, best["mode"], best["keep"]) for name, best in self.keep_best_of.items()))

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules that are given."""
        return tuple(name for name in RULES if getattr(self, name) not in (None, False, (), {}))

    @property
    def has_rules(self) -> bool:
        """Whether any rule is given; without one nothing is ever removed."""
        return bool(self.rules)

    @property
    def asked(self) -> dict[str, Any]:
        """What it asks for, as given fields: all but what holds by itself. A monitor comes with its direction."""
        plain, whole = Policy(), self.to_json()
        asked = {name: value for name, value in whole.items() if getattr(self, name) != getattr(plain, name)}
        asked.pop("mode", None)
        return asked if self.monitor is None else {**asked, "mode": self.mode}

    def to_json(self) -> dict[str, Any]:
        """The policy as it stands in run.json and in answers; `from_json` takes it back."""
        whole = {name: getattr(self, name) for name in self.__struct_fields__}
        whole["keep_best_of"] = {metric: dict(best) for metric, best in self.keep_best_of.items()}
        whole["keep_every"] = [dict(stretch) for stretch in self.keep_every]
        whole["keep_steps"] = list(self.keep_steps)
        return whole

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """The policy behind its JSON, or that given fields make; fields may be missing, other names are understood.

        Raises StateError for an unknown field, naming the nearest, and for a value out of range.
        """
        return cls(**{name: value for name, value in given(raw).items() if value is not None})


_OFF = {"keep_every": (), "keep_steps": ()}
