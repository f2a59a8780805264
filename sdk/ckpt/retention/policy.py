"""What a run asks to be kept."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import msgspec

from ckpt.encoding import printable
from ckpt.exceptions import StateError
from ckpt.records import Record
from ckpt.refs import mode_for

Mode = Literal["min", "max"]

COUNTS = ("keep_last", "keep_best", "keep_every_n_epochs", "keep_every_n_steps")
"""The rules that are a number of 1 or more; None leaves the rule out."""

DEFAULT_MONITOR = "loss"
_BY_NAME: Any = None  # stands for a direction that nobody gave until the policy is complete


class Policy(Record, frozen=True, kw_only=True):
    """The retention rules of a run. With no rule at all everything is kept.

    Raises StateError when a value is out of range.
    """

    keep_last: int | None = None
    """Keep the N newest."""
    keep_best: int | None = None
    """Keep the N best by `monitor`."""
    monitor: str | None = None
    """Metric that decides what is best; None follows the run's own, else the loss."""
    mode: Mode = _BY_NAME
    """Direction of the monitor; left out, its name decides (losses and errors fall, the rest rises)."""
    keep_every_n_epochs: int | None = None
    """Keep the last checkpoint of every epoch that N divides, epochs as the training counts them."""
    keep_every_n_steps: int | None = None
    """Keep the last checkpoint of every step that N divides."""
    keep_best_of: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """More monitors: metric to {"keep": N, "mode": "min" | "max"}. The best of each is never removed."""
    keep_every: tuple[dict[str, float | None], ...] = ()
    """Keep the newest of every stretch of time: {"every": seconds, "within": seconds before the newest, or None}."""
    keep_within: float | None = None
    """Keep what was saved within so many seconds before the newest."""
    keep_steps: tuple[int, ...] = ()
    """Keep these steps."""
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
        given = {name: getattr(self, name) for name in COUNTS if getattr(self, name) is not None}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int):
                raise StateError(f"{name} is {value!r}, and has to be a whole number of 1 or more")
        if given and not any(given.values()):
            names = " and ".join(f"{name} = 0" for name in given)
            raise StateError(f"a policy with {names} would keep nothing", hint="leave a rule out to switch it off")
        for name, value in given.items():
            if value < 1:
                raise StateError(
                    f"{name} is {value}, and has to be 1 or more", hint=f"leave {name} out for no such rule"
                )
        if self.monitor is not None and (not isinstance(self.monitor, str) or not self.monitor):
            raise StateError(f"monitor is {self.monitor!r}, and has to be the name of a metric")
        if getattr(self, "mode", None) is None:
            msgspec.structs.force_setattr(self, "mode", mode_for(self.metric))
        if self.mode not in ("min", "max"):
            raise StateError(f"mode is {self.mode!r}, and has to be 'min' or 'max'")
        if not isinstance(self.tag_best, bool):
            raise StateError(f"tag_best is {self.tag_best!r}, and has to be true or false")
        seconds = self.keep_for
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
            raise StateError(f"keep_for is {seconds!r}, and has to be a number of seconds")
        if seconds < 0:
            raise StateError(f"keep_for is {seconds:g}, and has to be 0 seconds or more")

    @property
    def metric(self) -> str:
        """The metric that decides what is best."""
        return self.monitor or DEFAULT_MONITOR

    @property
    def has_rules(self) -> bool:
        """Whether any rule is given; without one nothing is ever removed."""
        return any(getattr(self, name) is not None for name in COUNTS)

    def following(self, monitor: str | None, mode: Mode | None = None) -> Policy:
        """This policy with the run's own monitor where it names none itself."""
        if self.monitor is not None or monitor is None:
            return self
        changed: Policy = self.evolve(monitor=monitor, mode=mode if mode is not None else mode_for(monitor))
        return changed

    def to_json(self) -> dict[str, Any]:
        """The policy as it stands in run.json and in answers; `from_json` takes it back."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """The policy behind its JSON; fields may be missing or null.

        Raises StateError for an unknown field, naming the nearest, and for a value out of range.
        """
        if not isinstance(raw, Mapping):
            raise StateError(f"a policy has to be an object, not {raw!r:.60}", hint='such as {"keep_last": 5}')
        known = cls.__struct_fields__
        for key in raw:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise StateError(f"'{printable(str(key))}' is no field of a policy", hint=hint)
        optional = {*COUNTS, "monitor", "mode"}
        return cls(**{name: value for name, value in raw.items() if value is not None or name not in optional})
