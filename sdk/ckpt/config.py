"""CheckpointConfig: when to save, what to keep, what to put into a checkpoint."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import Any, Literal, Self

from ckpt.commit_message import check_template, filled
from ckpt.encoding import printable
from ckpt.exceptions import StateError
from ckpt.refs import mode_for
from ckpt.retention import Policy, given
from ckpt.retention.quantities import LONGEST, MINUTE, duration, shown
from ckpt.retention.spelling import OTHER_NAMES, is_off, nearest

_COUNTS = (
    "save_every_n_steps",
    "save_every_n_epochs",
    "early_stopping_patience",
)

_POLICY = {
    "keep_last_n_checkpoints": "keep_last",
    "keep_best_n_checkpoints": "keep_best",
    "keep_checkpoint_every_n_epochs": "keep_every_n_epochs",
    "keep_checkpoint_every_n_steps": "keep_every_n_steps",
    "keep_best_of": "keep_best_of",
    "keep_every": "keep_every",
    "keep_within": "keep_within",
    "keep_steps": "keep_steps",
    "keep_tagged": "keep_tagged",
    "max_age": "max_age",
    "max_bytes": "max_bytes",
    "missing_metric": "missing_metric",
    "metric_grace": "metric_grace",
    "tag_best_checkpoints": "tag_best",
    "keep_for": "keep_for",
}
"""Options that the policy checks, and the fields of it that they are."""

_INSTEAD = ("keep_last", "save_total_limit", "keep_best", "save_top_k", "keep_every_n_epochs", "keep_every_n_steps")
"""Other names that options have for those who know them from elsewhere."""

_CHOICES = {
    "when_busy": ("block", "skip", "coalesce"),
    "when_disk_full": ("raise", "wait", "skip"),
}

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
"""Signals that a save can answer; no platform has all of them."""

_RISING = re.compile(
    r"(?<![a-z])(accuracy|acc|f1|auc|bleu|rouge|iou|dice|map|reward|score|precision|recall|r2)(?![a-z0-9])"
)
"""Words in the names of metrics of which more is plainly better."""

_FORMER = {"keep_for_s": "keep_for"}
"""Names of options in the run.json of earlier versions."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How a training is saved. Every rule that is None is off; rules are independent of each other.

    When to save: save_every_n_steps, save_every_n_epochs (once an epoch), save_every_n_minutes, save_on_best_metric (a
    metric's name) with minimize_metric (True for a loss, False for an accuracy), save_on_exception, save_on_signals
    with signal_save_within.
    How it is written: background, when_busy, when_disk_full with disk_full_wait.
    What to keep: keep_last_n_checkpoints, keep_best_n_checkpoints, keep_checkpoint_every_n_epochs,
    keep_checkpoint_every_n_steps, keep_best_of, keep_every, keep_within, keep_steps, keep_tagged, max_age, max_bytes;
    what no rule keeps waits in the trash for keep_for. Without a rule everything is kept. Times are seconds or texts
    such as "36h", sizes bytes or texts such as "200GB"; both are held as numbers.
    What is in it: save_optimizer_state, save_scheduler_state, save_random_state, gather_random_states,
    use_incremental_saves.
    How it is listed: auto_commit, commit_message_template, tag_best_checkpoints.
    When to stop: early_stopping_patience, early_stopping_threshold.

    Raises StateError for an unknown option, naming the nearest, and for a value out of range. Warns (UserWarning) when
    a metric like an accuracy is to be minimised.
    """

    save_every_n_steps: int | None = None
    """Save when N divides the global step."""
    save_every_n_epochs: int | None = None
    """Save once in every epoch that N divides, epochs as the training counts them."""
    save_every_n_minutes: float | None = None
    """Save when N minutes have passed since this training's last save, or since it began."""
    save_on_best_metric: str | None = None
    """Save when this metric is better than in every checkpoint so far; also what `best` means."""
    minimize_metric: bool = True
    """True when less is better, as for a loss; False for an accuracy. Without a metric the loss is minimised."""

    save_on_exception: bool = False
    """Save once more when an exception leaves the `with` block of the hook, KeyboardInterrupt included."""
    save_on_signals: str | Sequence[str] = ()
    """Save at the next step after one of these signals, such as ("SIGTERM", "SIGUSR1"). After SIGUSR1 and SIGUSR2 the
    training goes on; the others are delivered again after the save."""
    signal_save_within: float | str = 60.0
    """How long a save on a signal or an exception may take, the wait for the next step included."""

    background: Literal[True, False, "thread", "process"] = True
    """Who writes: a thread or a process beside the training; True takes a thread for small files and a process for
    large ones, False writes before the save returns."""
    when_busy: Literal["block", "skip", "coalesce"] = "block"
    """What a save does while the one before is being written: wait for it, leave itself out, or wait in line, where a
    newer one takes its place. The best, and saves on exceptions and signals, always wait."""
    when_disk_full: Literal["raise", "wait", "skip"] = "raise"
    """What a save does without room on the disk: fail, wait for room up to `disk_full_wait`, or leave itself out."""
    disk_full_wait: float | str = 3600.0

    keep_last_n_checkpoints: int | None = None
    keep_best_n_checkpoints: int | None = None
    """Keep the N best by `save_on_best_metric`, or by the lowest loss when no metric is named."""
    keep_checkpoint_every_n_epochs: int | None = None
    keep_checkpoint_every_n_steps: int | None = None
    keep_best_of: Mapping[str, Any] | None = None
    """Keep the best by further metrics: {"accuracy": 2} or {"accuracy": {"keep": 2, "mode": "max"}}."""
    keep_every: float | str | Sequence[Any] | None = None
    """Keep the newest of every stretch of time: "1h", or ["1h for 1d", "1d for 30d", "7d"]."""
    keep_within: float | str | None = None
    """Keep what was saved within this time before the newest."""
    keep_steps: str | Sequence[int] | None = None
    """Keep these steps: [1000, 5000]."""
    keep_tagged: bool = False
    """Keep what a person tagged; tagged ones stay anyway, but as the only rule it says that nothing else is wanted."""
    max_age: float | str | None = None
    """Keep what is younger than this now."""
    max_bytes: int | str | None = None
    """Keep the rest as well while the run is below this size."""
    missing_metric: Literal["keep", "ignore"] = "keep"
    """Whether a checkpoint without its metric waits for it, `metric_grace` long."""
    metric_grace: float | str = 3600.0
    keep_for: float | str = 86400.0
    """How long a removed checkpoint waits in the trash, restorable."""

    keep_last: InitVar[int | None] = None
    """Another name of keep_last_n_checkpoints, as are the following of the options that they speak of."""
    save_total_limit: InitVar[int | None] = None
    keep_best: InitVar[int | None] = None
    save_top_k: InitVar[int | None] = None
    keep_every_n_epochs: InitVar[int | None] = None
    keep_every_n_steps: InitVar[int | None] = None

    save_optimizer_state: bool = True
    save_scheduler_state: bool = True
    save_random_state: bool = True
    """Capture the random states of Python, NumPy and torch when the TrainingState holds none."""
    gather_random_states: bool = False
    """Capture the random states of all ranks. Then all of them ask and save at the same moments, and rank 0 answers for
    all whether a save is due."""
    use_incremental_saves: bool = True
    """Store equal tensors once where the store can. A run directory cannot: each of its checkpoints is one whole
    file that plain tools open, at either value, and run.json records what was asked for."""

    auto_commit: bool = True
    """False: checkpoints are staged, and listed only after `commit()`."""
    commit_message_template: str = "Checkpoint at epoch {epoch}, step {step}"
    """Kept with each checkpoint; may name epoch, step, loss, learning_rate, model_name, experiment_name and metrics."""
    tag_best_checkpoints: bool = True
    """Whether `best`, `best-1` … move along as tags."""

    early_stopping_patience: int | None = None
    """Stop after this many checks in a row without improvement."""
    early_stopping_threshold: float = 0.0
    """Least change of the metric that counts as an improvement."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        _refuse_unknown(options, [item.name for item in dataclasses.fields(cls)])
        return super().__new__(cls)

    def __post_init__(self, *others: int | None) -> None:
        self._take_rules(dict(zip(_INSTEAD, others, strict=True)))
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise StateError(
                    f"{name} is {value!r}, and has to be a whole number of 1 or more",
                    hint=f"leave {name} out for no such rule",
                )
        for item in dataclasses.fields(self):
            if (
                item.name != "background"
                and isinstance(item.default, bool)
                and not isinstance(getattr(self, item.name), bool)
            ):
                raise StateError(f"{item.name} is {getattr(self, item.name)!r}, and has to be True or False")
        self._take_writing()
        metric = self.save_on_best_metric
        if metric is not None and (not isinstance(metric, str) or not metric or is_off(metric)):
            raise StateError(
                f"save_on_best_metric is {metric!r}, and has to be the name of a metric",
                hint="leave it out to save by other options",
            )
        if metric is not None and self.minimize_metric and _plainly_rises(metric):
            warnings.warn(
                f"save_on_best_metric is {metric!r} and minimize_metric is True, so the lowest counts as the best; "
                "say minimize_metric=False if more is better",
                UserWarning,
                stacklevel=3,
            )
        value = self.early_stopping_threshold
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise StateError(f"early_stopping_threshold is {value!r}, and has to be a number of 0 or more")
        check_template(self.commit_message_template)

    def _take_rules(self, others: Mapping[str, Any]) -> None:
        """Lets the policy check what is the policy's, and holds it under the options' own names."""
        options = {name: getattr(self, name) for name in _POLICY} | dict(others)
        # An option of None by itself is one that nobody gave.
        rules = given(
            {n: value for n, value in options.items() if value is not None or getattr(type(self), n) is not None}
        )
        for name, field in _POLICY.items():
            if field in rules:
                object.__setattr__(self, name, rules[field])
        for name in others:
            object.__setattr__(self, name, rules.get(OTHER_NAMES.get(name, name)))

    def _take_writing(self) -> None:
        """Checks when and how files are written, and holds times as seconds and signals as a tuple of names."""
        minutes = self.save_every_n_minutes
        if minutes is not None:
            number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
            if not number or not 0 < minutes <= LONGEST / MINUTE:
                raise StateError(
                    f"save_every_n_minutes is {shown(minutes)}, and has to be a number of minutes above 0",
                    hint="0.5 is every 30 seconds; leave it out for no such rule",
                )
        if not isinstance(self.background, bool) and self.background not in ("thread", "process"):
            raise _no_choice("background", self.background, ("True", "False", "thread", "process"))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _no_choice(name, getattr(self, name), choices)
        for name, least in (("disk_full_wait", 0.0), ("signal_save_within", 0.1)):
            object.__setattr__(self, name, duration(name, getattr(self, name), least))
        object.__setattr__(self, "save_on_signals", _signals(self.save_on_signals))

    @property
    def monitor(self) -> str:
        """The metric that decides what is best: `save_on_best_metric`, else the loss."""
        return self.save_on_best_metric or "loss"

    @property
    def mode(self) -> Literal["min", "max"]:
        """Which way the monitored metric improves."""
        return "min" if self.minimize_metric or self.save_on_best_metric is None else "max"

    def to_policy(self) -> Policy:
        """The retention rules of this config."""
        rules = {field: getattr(self, name) for name, field in _POLICY.items()}
        return Policy.from_json({**rules, "monitor": self.save_on_best_metric, "mode": self.mode})

    def to_dict(self) -> dict[str, Any]:
        """All options as plain data; `from_dict` takes them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """The config behind `to_dict`; options may be missing. Raises StateError as the constructor does."""
        return cls(**{_FORMER.get(name, name): value for name, value in options.items()})

    def message(self, values: Mapping[str, Any]) -> str:
        """The commit message for these values; what is unknown or does not fit its format shows as `?`."""
        return filled(self.commit_message_template, values)


def _refuse_unknown(options: Mapping[str, Any], known: Sequence[str]) -> None:
    accepted = (*known, *_INSTEAD)
    for name in options:
        if name not in accepted:
            same = [option for option, field in _POLICY.items() if field == OTHER_NAMES.get(name)]
            raise StateError(
                f"CheckpointConfig has no option '{printable(name)}'",
                hint=f"{same[0]} is the same" if same else nearest(name, accepted, f"options: {', '.join(known)}"),
            )


def _no_choice(name: str, value: Any, choices: Sequence[str]) -> StateError:
    near = nearest(value, choices, "") if isinstance(value, str) else ""
    return StateError(f"{name} is {shown(value)}, and has to be one of {', '.join(choices)}", hint=near or None)


def _signals(value: Any) -> tuple[str, ...]:
    """Names of signals, each once, from one or several names or `signal.Signals`."""
    several = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    names = [getattr(item, "name", item) for item in several]
    for name in names:
        if name not in SIGNALS:
            known = f"signals that a save can answer: {', '.join(SIGNALS)}"
            raise StateError(
                f"save_on_signals names {shown(name)}, which is no signal that a save can answer",
                hint=_hint_for(name, known),
            )
    return tuple(dict.fromkeys(names))


def _hint_for(name: Any, known: str) -> str:
    if name in ("SIGKILL", "SIGSTOP"):
        return f"no program can catch {name}; {known}"
    return nearest(name.upper(), SIGNALS, known) if isinstance(name, str) else known


def _plainly_rises(metric: str) -> bool:
    return _RISING.search(metric.lower()) is not None and mode_for(metric) == "max"
