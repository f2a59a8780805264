"""What of a foreign run is a checkpoint of a training. Anything else is never removed: data, base models, exports."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ckpt import refs
from ckpt.paths import is_cut, is_step
from ckpt.records import Checkpoint

Series = tuple[str, str, str]
"""Framework, directory, and the beginning of the name up to its first digit."""

_CONTAINERS = frozenset({"torch", "safetensors"})
"""Frameworks that say no more than how a file is written."""
_UNKNOWN = frozenset({"", "unknown"})
_DIGIT = re.compile("[0-9]")


def unknown(complete: Iterable[Checkpoint]) -> dict[str, str]:
    """Of a foreign run's complete checkpoints those that are no known training checkpoint: id to why."""
    why: dict[str, str] = {}
    series: dict[Series, list[Checkpoint]] = {}
    for checkpoint in complete:
        text = _strange(checkpoint)
        if text is None:
            series.setdefault(series_of(checkpoint), []).append(checkpoint)
        else:
            why[checkpoint.id] = text
    for alike in series.values():
        exported = _only_weights(alike)
        why |= dict.fromkeys(exported, "weights alone, and others of its series hold an optimizer too")
        if len(alike) - len(exported) < 2:
            left = (checkpoint.id for checkpoint in alike if checkpoint.id not in exported)
            why |= dict.fromkeys(left, "the only one of its kind in its directory")
    return why


def series_of(checkpoint: Checkpoint) -> Series:
    """The series that a checkpoint belongs to.

    The directory of a step is a part of the name, so that `step-1/model.pt` and `step-2/model.pt` are of one series.
    """
    directory, _, name = checkpoint.path.rpartition("/")
    above, beginning = _above_steps(directory)
    return checkpoint.framework, above, beginning + _beginning(name)


@lru_cache(maxsize=1024)
def _above_steps(directory: str) -> tuple[str, str]:
    """What of a directory stands for no step, and how the names begin of what does."""
    above = directory
    while is_cut(above):
        above = above.rpartition("/")[0]
    if is_step(above):
        above = above.rpartition("/")[0]
    inside = directory[len(above) :].split("/")[1:]
    return above, "".join(f"{_beginning(name)}…/" for name in inside)


def _beginning(name: str) -> str:
    return _DIGIT.split(name, maxsplit=1)[0]


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


def _only_weights(alike: Sequence[Checkpoint]) -> set[str]:
    """Ids of those in a series that hold no more than weights, where others of it hold an optimizer."""
    without = {checkpoint.id: checkpoint for checkpoint in alike if not checkpoint.kinds.get("optimizer", 0)}
    if len(without) == len(alike):
        return set()
    return {name for name, checkpoint in without.items() if checkpoint.kinds.get("weights", 0) > 0}
