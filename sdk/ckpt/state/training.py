"""TrainingState: the numbers and serialized states of a training at one moment."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import operator
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ckpt import files
from ckpt.encoding import finite, number_from_disk, printable
from ckpt.exceptions import FormatError, StateError
from ckpt.state import values

TEXT_UP_TO = 1 << 20
"""Bytes of tensors up to which `save` writes JSON; above, a binary file."""
_FORMAT = 1
_STATES = ("optimizer_state", "scheduler_state", "random_state")
_COUNTS = ("batch_size", "gradient_accumulation_steps", "max_epochs", "max_steps")


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(eq=False)
class TrainingState:
    """A training at one moment: what it counts and measures, and the states that it needs to go on.

    Mutable: metrics are updated in place. Numbers may come as Python numbers, NumPy scalars or tensors of one element,
    and are kept as Python numbers; they may be NaN or infinite. A naive timestamp is taken as local time. Equality is
    that of what would be stored, bit for bit. Raises StateError for a value of the wrong kind.
    """

    epoch: int
    global_step: int
    learning_rate: float
    loss: float
    metrics: dict[str, float] = field(default_factory=dict)

    optimizer_state: dict[Any, Any] | None = None
    scheduler_state: dict[Any, Any] | None = None
    random_state: dict[Any, Any] | None = None

    timestamp: datetime = field(default_factory=now)
    """When the state was made; aware, UTC."""

    batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    max_epochs: int | None = None
    max_steps: int | None = None

    model_name: str | None = None
    dataset_name: str | None = None
    experiment_name: str | None = None
    notes: str | None = None

    def __post_init__(self) -> None:
        self.epoch = whole(self.epoch, "epoch")
        self.global_step = whole(self.global_step, "global_step")
        self.learning_rate = real(self.learning_rate, "learning_rate")
        self.loss = real(self.loss, "loss")
        self.metrics = {_metric_name(name): real(value, f"metrics.{name}") for name, value in self.metrics.items()}
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, whole(value, name))
        if self.timestamp.tzinfo is not UTC:
            self.timestamp = self.timestamp.astimezone(UTC)

    def update_metrics(self, **metrics: Any) -> None:
        """Adds metrics, or replaces those of the same name. Raises StateError when a value is not a number."""
        self.metrics.update({name: real(value, f"metrics.{name}") for name, value in metrics.items()})

    def format_summary(self) -> str:
        """One line for people: `Epoch: 5 | Step: 1000 | Learning Rate: 1.00e-04 | Loss: 0.1234 | accuracy: 0.9500`."""
        parts = [
            f"Epoch: {self.epoch}",
            f"Step: {self.global_step}",
            f"Learning Rate: {self.learning_rate:.2e}",
            f"Loss: {self.loss:.4f}",
        ]
        parts += [f"{printable(name)}: {value:.4f}" for name, value in self.metrics.items()]
        return " | ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data that JSON can hold; `from_dict` gives the same state back.

        Numbers that are not finite are the strings `NaN`, `Infinity`, `-Infinity`; the timestamp is Unix seconds.
        Raises StateError, naming the place, for what cannot be stored.
        """
        return {**self._scalars(), **{name: values.encode(getattr(self, name), name) for name in _STATES}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The state behind `to_dict`. Raises StateError for a missing, unknown or unusable field."""
        return cls._build({**data, **{name: values.decode(data[name]) for name in _STATES if name in data}})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one file, whole or not at all: JSON when the tensors are small, else binary.

        Raises StateError for what cannot be stored, with nothing written, and OSError.
        """
        content: dict[str, Any] = {"format": _FORMAT, **self._scalars()}
        content.update({name: getattr(self, name) for name in _STATES})
        files.atomic_write(Path(path), values.pack(content, text_up_to=TEXT_UP_TO))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote. Raises OSError, and FormatError when the file is damaged or something else."""
        with open(path, "rb") as stream:
            data = bytearray(os.fstat(stream.fileno()).st_size)
            del data[stream.readinto(data) :]
        try:
            content = values.unpack(data)
            version = content.pop("format", None)
            if version != _FORMAT:
                raise FormatError(f"its format is {version!r}; this version reads {_FORMAT}")
            return cls._build(content)
        except (FormatError, StateError) as error:
            raise FormatError(f"{printable(os.fspath(path))} is no TrainingState: {error.message}") from error

    def scalars(self) -> dict[str, Any]:
        """Everything but the serialized states, as plain data under the on-disk rules, and which states are held."""
        return {**self._scalars(), "held": [name for name in _STATES if getattr(self, name) is not None]}

    def _scalars(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            if item.name in _STATES:
                continue
            value = getattr(self, item.name)
            if item.name == "timestamp":
                value = value.timestamp()
            elif item.name == "metrics":
                value = {_metric_name(name): finite(real(v, f"metrics.{name}")) for name, v in value.items()}
            elif item.name in ("loss", "learning_rate"):
                value = finite(real(value, item.name))
            elif item.name in ("epoch", "global_step"):
                value = whole(value, item.name)
            else:
                value = values.encode(value, item.name)
            out[item.name] = value
        return out

    @classmethod
    def _build(cls, data: dict[str, Any]) -> Self:
        """From on-disk scalars and states that are already decoded."""
        known = {item.name for item in dataclasses.fields(cls)}
        for name in data:
            if name not in known and name != "held":
                near = difflib.get_close_matches(name, known, n=1)
                raise StateError(
                    f"a TrainingState has no '{printable(str(name))}'",
                    hint=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}",
                )
        missing = [name for name in ("epoch", "global_step", "learning_rate", "loss") if name not in data]
        if missing:
            raise StateError(f"a TrainingState needs {', '.join(missing)}")
        fields = {name: value for name, value in data.items() if name != "held"}
        try:
            fields["loss"] = number_from_disk(data["loss"])
            fields["learning_rate"] = number_from_disk(data["learning_rate"])
            fields["metrics"] = {name: number_from_disk(v) for name, v in data.get("metrics", {}).items()}
            if "timestamp" in data and not isinstance(data["timestamp"], datetime):
                fields["timestamp"] = datetime.fromtimestamp(number_from_disk(data["timestamp"]), UTC)
        except (ValueError, AttributeError, OverflowError, OSError) as error:
            raise StateError(f"a number in the state cannot be read: {error}") from error
        for name in ("model_name", "dataset_name", "experiment_name", "notes"):
            if name in fields:
                fields[name] = values.decode(fields[name])
        return cls(**fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TrainingState):
            return NotImplemented
        return all(
            values.same(getattr(self, item.name), getattr(other, item.name))
            for item in dataclasses.fields(self)
            if item.name != "timestamp"
        ) and (self.timestamp == other.timestamp)

    __hash__ = None  # type: ignore[assignment]


def real(value: Any, where: str) -> float:
    """A number as a Python float; NumPy scalars and tensors of one element are numbers. Raises StateError."""
    if type(value) is float:
        return value
    try:
        if isinstance(value, numbers.Real):
            return float(value)
        if not isinstance(value, str | bytes) and hasattr(value, "item"):
            return float(value.item())
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise StateError(f"{where} is not one number: {error}") from error
    raise StateError(
        f"{where} must be a number, not {type(value).__name__}", hint="give a float, a NumPy scalar or a 0-d tensor"
    )


def whole(value: Any, where: str) -> int:
    """A number as a Python int. Raises StateError when it is not whole."""
    if type(value) is int:
        return value
    try:
        if hasattr(value, "item") and not isinstance(value, str | bytes):
            value = value.item()
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            return int(value)
        if not isinstance(value, bool):
            return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise StateError(f"{where} must be a whole number, not {value!r}")


def _metric_name(name: Any) -> str:
    if type(name) is not str or (printable(name) != name and not _is_text(name)):
        raise StateError(f"metrics must have strings as names, not {name!r}")
    return name


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
