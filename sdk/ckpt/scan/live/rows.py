"""What a training wrote at one step, whichever file it stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

AXES = ("step", "global_step", "iteration", "iter", "epoch", "time/total_timesteps")
"""Names of what a metric is written over; the first of them that a file has is its axis."""

EPOCH = "epoch"

MAX_METRICS = 1000
"""Different names that are read of one run, and columns of one table."""
MAX_NAME = 300  # characters

_NO_METRICS = frozenset({*AXES, "time", "timestamp", "walltime", "wall_time", "total_flos"})
_LOSSES = (
    "loss",
    "train_loss",
    "train/loss",
    "loss/train",
    "training_loss",
    "train_loss_step",
    "train/loss_step",
    "total_loss",
)
MOST_STEP = (1 << 63) - 1


class Row(NamedTuple):
    """The values of one step, by metric."""

    step: int
    epoch: float | None
    values: Mapping[str, float]
    by_epoch: bool = False
    """Whether `step` counts epochs."""
    restart: bool = False
    """Whether the training says itself that it began again here, so that what lies beyond was abandoned."""


def plain(name: str) -> str:
    """A column's name as it is compared: without the blanks around it and in small letters."""
    return name.strip().lower()


def is_metric(name: str) -> bool:
    """Whether a column of that name holds a metric, and not where or when it was taken."""
    return 0 < len(name) <= MAX_NAME and plain(name) not in _NO_METRICS


def number(cell: Any) -> float | None:
    """A number, or text that is one; None for anything else. A number beyond the range of a float is infinite."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    if isinstance(cell, str) and ("_" in cell or len(cell) > 400):
        return None
    try:
        return float(cell)
    except ValueError:
        return None
    except OverflowError:
        return float("inf") if isinstance(cell, int) and cell > 0 else float("-inf")


def whole(cell: Any) -> int | None:
    """A whole number of at most 64 bits, `3.0` included; None for anything else."""
    if isinstance(cell, str):
        cell = cell.strip()
        if cell.isascii() and cell.isdigit() and len(cell) < 20:
            cell = int(cell)
    if isinstance(cell, bool):
        return None
    if not isinstance(cell, int):
        cell = number(cell)
        if cell is None or not cell.is_integer():
            return None
        cell = int(cell)
    return cell if -MOST_STEP <= cell <= MOST_STEP else None


def row_of(record: Mapping[Any, Any]) -> Row | None:
    """A mapping of names to values as a row; None where it has no step or no metric."""
    axis = next((axis for axis in AXES if axis in record), None)
    step = None if axis is None else whole(record[axis])
    if step is None:
        return None
    values: dict[str, float] = {}
    for name, cell in record.items():
        value = number(cell) if isinstance(name, str) and is_metric(name) else None
        if value is not None:
            values[name] = value
            if len(values) == MAX_METRICS:
                break
    return Row(step, number(record.get(EPOCH)), values, by_epoch=axis == EPOCH) if values else None


def loss_of(rows: Sequence[Row]) -> float | None:
    """The training's loss: that of the best known name, in the last of the rows that has it."""
    for name in _LOSSES:
        for row in reversed(rows):
            if name in row.values:
                return row.values[name]
    return None
