"""Evaluation results that are attached to a checkpoint after it was saved: names, values and steps that can be."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ckpt import encoding
from ckpt.encoding import printable
from ckpt.exceptions import UsageError

NAME_MAX = 200  # characters
STEP_MAX = (1 << 63) - 1
_POSITIONS = ("step", "global_step", "epoch")
_EXAMPLE = "for example val_loss=0.123; nan, inf and -inf are values too"


def check_metrics(metrics: Any) -> dict[str, float]:
    """The metrics as names and floats. `metrics` maps names to numbers, or to the names that encoding gives to nan and
    the infinities. Raises UsageError for an empty mapping, an unusable name and a value that is no number."""
    if not isinstance(metrics, Mapping) or not metrics:
        raise UsageError("no metric is given", hint=_EXAMPLE)
    return {check_name(name): _value(name, value) for name, value in metrics.items()}


def check_name(name: Any) -> str:
    """The name of a metric itself. Raises UsageError for one that cannot be."""
    if not isinstance(name, str) or not name or name != name.strip():
        raise UsageError(f"{name!r:.100} cannot be the name of a metric", hint=_EXAMPLE)
    if len(name) > NAME_MAX or printable(name) != name or "=" in name:
        hint = f"up to {NAME_MAX} printable characters, without ="
        raise UsageError(f"'{printable(name[:100])}' cannot be the name of a metric", hint=hint)
    if name in _POSITIONS:
        raise UsageError(
            f"{name} says where a training stood, and is no metric", hint="the step of a measurement is given apart"
        )
    return name


def check_step(step: Any) -> int | None:
    """The step itself; None stays None. Raises UsageError for what is no whole number of 0 or more."""
    if step is None:
        return None
    try:
        if isinstance(step, bool) or int(step) != step or not 0 <= step <= STEP_MAX:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"a step is a whole number of 0 or more, not {step!r:.60}") from None
    return int(step)


def check_attached(attached: Collection[str], names: Iterable[str]) -> None:
    """Raises UsageError for a name that is not among the attached ones, and when no name is given."""
    asked = list(names)
    missing = [name for name in asked if name not in attached]
    if missing or not asked:
        known = ", ".join(printable(name) for name in sorted(attached))
        what = (
            f"{printable(str(missing[0])[:100])} was not attached after the save" if missing else "no metric is named"
        )
        raise UsageError(what, hint=f"attached: {known}" if known else "nothing was")


def parse(words: Iterable[str]) -> dict[str, float]:
    """The metrics that people write as NAME=VALUE. Raises UsageError, also for a name that stands twice."""
    metrics: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"'{printable(word)}' is not NAME=VALUE", hint=_EXAMPLE)
        if name in metrics:
            raise UsageError(f"{printable(name)} is given twice")
        try:
            metrics[name] = float(value)
            if math.isinf(metrics[name]) and "inf" not in value.lower():
                raise ValueError("beyond the range of a float")
        except ValueError:
            raise UsageError(
                f"{printable(name)} is '{printable(value[:100])}', and has to be a number", hint=_EXAMPLE
            ) from None
    return check_metrics(metrics)


def _value(name: str, value: Any) -> float:
    try:
        # Numbers of numpy and tensors of one element are numbers too.
        plain = value if isinstance(value, bool | int | float | str) else float(value)
        return float(encoding.number_from_disk(plain))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise UsageError(f"{name} is {value!r:.60}, and has to be a number", hint=_EXAMPLE) from None
