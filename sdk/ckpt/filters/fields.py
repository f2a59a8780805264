"""What runs and checkpoints can be filtered and sorted by."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt.filters.values import NAMES, Fields, Value
from ckpt.records import Checkpoint, Run, Verdict

CONFIG_DEPTH = 4  # levels of a config that have names


def checkpoint_fields(checkpoint: Checkpoint, verdict: Verdict | None = None, *, now: float | None = None) -> Fields:
    """What a checkpoint can be filtered and sorted by: its metrics, and its own fields, which win over them."""
    file = checkpoint.path.rpartition("/")[2]
    fields: dict[str, Value] = dict(checkpoint.metrics)
    fields.setdefault("loss", checkpoint.loss)
    fields.update(
        id=checkpoint.id,
        name=file,
        path=checkpoint.path,
        framework=checkpoint.framework,
        format=checkpoint.format,
        state=checkpoint.state,
        seq=checkpoint.seq,
        attempt=checkpoint.attempt,
        step=checkpoint.step,
        epoch=checkpoint.epoch,
        learning_rate=checkpoint.learning_rate,
        bytes=checkpoint.bytes,
        size=checkpoint.bytes,
        saved_at=checkpoint.saved_at,
        age=(time.time() if now is None else now) - checkpoint.saved_at,
        tag=checkpoint.tags,
        tags=checkpoint.tags,
        pinned=checkpoint.pinned,
        note=checkpoint.note,
        label=checkpoint.label,
        problem=checkpoint.problems,
        verdict=None if verdict is None else verdict.action,
    )
    called = (checkpoint.id, file, file.rpartition(".")[0], *checkpoint.tags, checkpoint.label or "")
    fields[NAMES] = tuple(name for name in called if name)
    return fields


def run_fields(run: Run, *, now: float | None = None) -> Fields:
    """What a run can be filtered and sorted by: its config's plain values, and its own fields, which win over them.

    A value inside another is named with dots, as `optimizer.lr`.
    """
    fields: dict[str, Value] = {
        key: value for key, value in _plain(run.config) if isinstance(value, str | int | float | bool)
    }
    fields.update(
        id=run.id,
        name=run.name,
        path=run.path,
        root=run.root,
        own=run.own,
        status=run.status,
        checkpoints=run.checkpoints,
        bytes=run.bytes,
        size=run.bytes,
        framework=run.framework,
        monitor=run.monitor,
        step=run.step,
        epoch=run.epoch,
        loss=run.loss,
        parent=run.parent.run if run.parent is not None else None,
        problem=run.problems,
        updated_at=run.updated_at,
        created_at=run.created_at,
        age=(time.time() if now is None else now) - run.updated_at,
    )
    fields[NAMES] = (run.name, run.path, run.path.rpartition("/")[2], run.id)
    return fields


def _plain(config: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            if depth < CONFIG_DEPTH:
                yield from _plain(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value
