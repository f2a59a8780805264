"""What of a foreign run is a checkpoint of a training. Anything else is never removed: data, base models, exports."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain

from ckpt import refs
from ckpt.records import Checkpoint
from ckpt.retention.series import beginning_of, series_of

_CONTAINERS = frozenset({"torch", "safetensors"})
"""Frameworks that say no more than how a file is written."""
_UNKNOWN = frozenset({"", "unknown"})


def unknown(complete: Iterable[Checkpoint]) -> dict[str, str]:
    """Of a foreign run's complete checkpoints those that are no known training checkpoint: id to why."""
    given = list(complete)
    why = {checkpoint.id: text for checkpoint in given if (text := _strange(checkpoint)) is not None}
    known = [checkpoint for checkpoint in given if checkpoint.id not in why]
    exported = set(chain.from_iterable(map(_only_weights, _by(beginning_of, known))))
    why |= dict.fromkeys(exported, "weights alone, and others that are named alike hold an optimizer too")
    for alike in _by(series_of, [checkpoint for checkpoint in known if checkpoint.id not in exported]):
        if len(alike) < 2:
            why[alike[0].id] = "the only one of its kind in its directory"
    return why


def _by(key: Callable[[Checkpoint], Hashable], checkpoints: Iterable[Checkpoint]) -> Iterable[Sequence[Checkpoint]]:
    found: dict[Hashable, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        found.setdefault(key(checkpoint), []).append(checkpoint)
    return found.values()


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
    """Ids of those that hold no optimizer where others that are named alike hold one."""
    without = {checkpoint.id for checkpoint in alike if not checkpoint.kinds.get("optimizer", 0)}
    return set() if len(without) == len(alike) else without
