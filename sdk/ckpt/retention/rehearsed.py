"""Rehearsals as `ckpt policy test --json` shows them."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ckpt.encoding import path_fields, printable
from ckpt.records import Checkpoint
from ckpt.retention.rehearsing import Point, Rehearsal


def rehearsal_to_json(rehearsal: Rehearsal, *, points: int = 200) -> dict[str, Any]:
    """A rehearsal as `ckpt policy test --json` shows it; of the points about so many, peaks among them."""
    return {
        "policy": rehearsal.policy.to_json(),
        "saved": rehearsal.saved,
        "saved_bytes": rehearsal.saved_bytes,
        "kept": [_short(checkpoint) for checkpoint in rehearsal.kept],
        "kept_bytes": rehearsal.kept_bytes,
        "removed": [{**_short(gone.checkpoint), "at": gone.at} for gone in rehearsal.removed],
        "most": rehearsal.most,
        "most_bytes": rehearsal.most_bytes,
        "points": [msgspec.to_builtins(point) for point in thinned(rehearsal.points, points)],
        "bests": [
            {
                "metric": printable(best.metric),
                "mode": best.mode,
                "monitored": best.monitored,
                "value": best.value,
                "checkpoint": _short(best.checkpoint),
                "kept": best.kept,
                "left": best.left,
                "unsaved": best.unsaved,
                "unsaved_step": best.unsaved_step,
            }
            for best in rehearsal.bests
        ],
        "asked": rehearsal.asked,
        "refused": rehearsal.refused,
        "every": rehearsal.every,
    }


def thinned(points: tuple[Point, ...], most: int) -> list[Point]:
    """About `most` points: of each stretch the one with the most bytes, and the last of all."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    peaks = [max(points[i : i + size], key=lambda point: point.bytes) for i in range(0, len(points), size)]
    return peaks if peaks[-1] is points[-1] else [*peaks, points[-1]]


def _short(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "id": checkpoint.id,
        **path_fields(checkpoint.path),
        "step": checkpoint.step,
        "epoch": checkpoint.epoch if checkpoint.epoch is not None and math.isfinite(checkpoint.epoch) else None,
        "bytes": checkpoint.bytes,
    }
