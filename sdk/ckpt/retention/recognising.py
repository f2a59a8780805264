"""What of a foreign run is a checkpoint of a training. Anything else is never removed: data, base models, exports."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from ckpt import refs
from ckpt.paths import is_cut, is_step
from ckpt.records import Checkpoint

_CONTAINERS = frozenset({"torch", "safetensors"})
"""Frameworks that say no more than how a file is written."""
_UNKNOWN = frozenset({"", "unknown"})
_DIGIT = re.compile("[0-9]")


def unknown(complete: Iterable[Checkpoint]) -> dict[str, str]:
    """Of a foreign run's complete checkpoints those that are no known training checkpoint: id to why."""
    given = list(complete)
    why = {checkpoint.id: text for checkpoint in given if (text := _strange(checkpoint)) is not None}
    known = [checkpoint for checkpoint in given if checkpoint.id not in why]
    going_on = {series_of(checkpoint) for checkpoint in known if checkpoint.kinds.get("optimizer", 0)}
    for checkpoint in known:
        if _only_weights(checkpoint) and series_of(checkpoint) in going_on:
            why[checkpoint.id] = "weights alone, and others of its series hold an optimizer too"
    series = Counter(series_of(checkpoint) for checkpoint in known if checkpoint.id not in why)
    for checkpoint in known:
        if checkpoint.id not in why and series[series_of(checkpoint)] < 2:
            why[checkpoint.id] = "the only one of its kind in its directory"
    return why


def series_of(checkpoint: Checkpoint) -> tuple[str, str, str]:
    """The series that a checkpoint belongs to: framework, directory, and its name up to the first digit.

    The directory of a step is a part of the name, so that `step-1/model.pt` and `step-2/model.pt` are of one series.
    """
    directory, _, name = checkpoint.path.rpartition("/")
    beginning = _DIGIT.split(name, maxsplit=1)[0]
    while is_cut(directory):
        directory, beginning = _upwards(directory, beginning)
    if is_step(directory):
        directory, beginning = _upwards(directory, beginning)
    return checkpoint.framework, directory, beginning


def _upwards(directory: str, beginning: str) -> tuple[str, str]:
    above, _, name = directory.rpartition("/")
    return above, f"{_DIGIT.split(name, maxsplit=1)[0]}…/{beginning}"


def _strange(checkpoint: Checkpoint) -> str | None:
    if checkpoint.label == refs.EXPORT:
        return "a model for use, nothing to go on from"
    if checkpoint.framework in _UNKNOWN:
        return "what wrote it is not known"
    if checkpoint.step is None and (checkpoint.epoch is None or math.isnan(checkpoint.epoch)):
        return "it has neither step nor epoch"
    if checkpoint.framework in _CONTAINERS and not any(
        checkpoint.kinds.get(kind, 0) > 0 for kind in ("weights", "optimizer")
    ):
        return "no weights or optimizer are known in it"
    return None


def _only_weights(checkpoint: Checkpoint) -> bool:
    return checkpoint.kinds.get("weights", 0) > 0 and not checkpoint.kinds.get("optimizer", 0)
