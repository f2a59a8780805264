"""What of a foreign run is a checkpoint of a training. Anything else is never removed: data, base models, exports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ckpt import refs
from ckpt.records import Checkpoint
from ckpt.retention.series import Series, beginning_of, series_of

_CONTAINERS = frozenset({"torch", "safetensors"})
"""Frameworks that say no more than how a file is written."""
_UNKNOWN = frozenset({"", "unknown"})


def unknown(complete: Iterable[Checkpoint]) -> dict[str, str]:
    """Of a foreign run's complete checkpoints those that are no known training checkpoint: id to why."""
    given = list(complete)
    why = {checkpoint.id: text for checkpoint in given if (text := _strange(checkpoint)) is not None}
    known = [checkpoint for checkpoint in given if checkpoint.id not in why]
    exported = _only_weights(known)
    why |= dict.fromkeys(exported, "weights alone, and others that are named alike hold an optimizer too")
    alike: dict[Series, list[str]] = {}
    for checkpoint in known:
        if checkpoint.id not in exported:
            alike.setdefault(series_of(checkpoint), []).append(checkpoint.id)
    return why | {ids[0]: "the only one of its kind in its directory" for ids in alike.values() if len(ids) == 1}


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


def _only_weights(known: Sequence[Checkpoint]) -> set[str]:
    """Ids of those that hold no optimizer where others that are named alike hold one."""
    without = [checkpoint for checkpoint in known if not checkpoint.kinds.get("optimizer", 0)]
    if not without:
        return set()
    names = {beginning_of(checkpoint) for checkpoint in known if checkpoint.kinds.get("optimizer", 0)}
    return {checkpoint.id for checkpoint in without if names and beginning_of(checkpoint) in names}
