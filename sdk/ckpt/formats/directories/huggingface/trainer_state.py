"""What the Trainer of transformers writes of itself: its `trainer_state.json` and its training arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from ckpt.encoding import printable
from ckpt.formats.meanings.meaning import Meaning
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import mapping_of

_MAX_METRICS = 500
_MAX_NAME = 200
_MAX_PATH = 4096
_NOT_METRICS = frozenset({"step", "epoch"})


def tell(found: Meaning, state: Mapping[str, Any]) -> None:
    """Puts into `found` what the state says: where the training was, what it measured there, and its best checkpoint.

    Only what was measured at the very step of the checkpoint counts as measured on it.
    """
    scalars = Scalars()
    step, epoch = scalars.number(state.get("global_step")), scalars.number(state.get("epoch"))
    found.step = int(step) if step is not None and math.isfinite(step) and step == int(step) and step >= 0 else None
    found.epoch = float(epoch) if epoch is not None else None
    found.metrics = _measured(state.get("log_history"), step, scalars)
    found.loss = found.metrics.get("loss")
    best = state.get("best_model_checkpoint")
    if best:
        named = (best,) if type(best) is str and len(best) <= _MAX_PATH else ()
        found.references["best_model_checkpoint"] = named


def _measured(history: Any, step: int | float | None, scalars: Scalars) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if type(history) is not list or step is None:
        return metrics
    for entry in history:
        if type(entry) is not dict or entry.get("step") != step:
            continue
        for name, value in entry.items():
            number = scalars.number(value)
            if number is None or name in _NOT_METRICS or len(name) > _MAX_NAME:
                continue
            if name in metrics or len(metrics) < _MAX_METRICS:
                metrics[printable(name)] = float(number)
    return metrics


def settings(arguments: Any, plain: Plain) -> dict[str, Any]:
    """The training arguments as plain data; what is a secret by its name shows as the library itself shows it."""
    shown = plain.mapping(arguments)
    for name, value in shown.items():
        if name.endswith("_token") and value is not None:
            shown[name] = f"<{name.upper()}>"
    return shown


def monitor(shown: Mapping[str, Any]) -> tuple[str | None, Literal["min", "max"] | None]:
    """The metric by which the Trainer compares checkpoints, under its name in the log, and which values are better.

    The library looks it up among the metrics of an evaluation, all of which begin with `eval_`; where nothing is said
    of the direction, less is better for names that end in `loss`.
    """
    name = shown.get("metric_for_best_model")
    if type(name) is not str or not name:
        return None, None
    greater = shown.get("greater_is_better")
    if type(greater) is not bool:
        greater = not name.endswith("loss")
    return name if name.startswith("eval_") else f"eval_{name}", "max" if greater else "min"


def world_size(arguments: Any) -> int:
    """How many processes trained, by the arguments; 0 where they do not say."""
    state = mapping_of((mapping_of(arguments) or {}).get("distributed_state")) or {}
    count = state.get("num_processes")
    return count if type(count) is int and 0 < count < 1 << 20 else 0
