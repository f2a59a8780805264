"""The live numbers of running trainings: the end of each states file, as events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ckpt import files
from ckpt.encoding import metrics_from_disk, number_from_disk, split_nonfinite
from ckpt.paths import RunPaths
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events

_TAIL = 1 << 16  # bytes of new states that are read at most in one go


class StateTail:
    """Remembers how far each run's states were read. However often they are written, each call tells of one."""

    def __init__(self, catalog: Catalog, events: Events) -> None:
        self._catalog = catalog
        self._events = events
        self._offsets: dict[str, int] = {}

    def forget(self, run: str) -> None:
        """Drops what is known of a run."""
        self._offsets.pop(run, None)

    def follow(self, run: str, paths: RunPaths) -> None:
        """Tells of the last state that was written since the last call, if any. Raises OSError."""
        size = paths.states.stat().st_size
        offset = self._offsets.get(run, -1)
        if size == offset:
            return
        self._offsets[run] = size
        last: Mapping[str, Any] | None = None
        start = max(0, size - _TAIL) if offset < 0 or size < offset else max(offset, size - _TAIL)
        for line in files.read_json_lines(paths.states, offset=start):
            if isinstance(line, dict):
                last = line
        if last is not None:
            state = state_json(last)
            loss = _float(last.get("loss"))
            step = state["step"] if isinstance(state["step"], int) else None
            self._catalog.touch(run, epoch=state["epoch"], step=step, loss=loss, updated_at=time.time())
            self._events.emit("state", run, **{k: v for k, v in state.items() if k != "at"})


def state_json(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a states file as events tell it: non-finite numbers are null and named."""
    metrics = metrics_from_disk(line.get("metrics"))
    scalars: dict[str, float] = {}
    for name in ("epoch", "learning_rate", "loss"):
        value = _float(line.get(name))
        if value is not None:
            scalars[name] = value
    shown, nonfinite = split_nonfinite(metrics)
    shown_scalars, names = split_nonfinite(scalars)
    return {
        "at": line.get("at"),
        "attempt": line.get("attempt"),
        "epoch": shown_scalars.get("epoch"),
        "step": line.get("global_step"),
        "learning_rate": shown_scalars.get("learning_rate"),
        "loss": shown_scalars.get("loss"),
        "metrics": shown,
        "nonfinite": [*nonfinite, *names],
    }


def _float(raw: Any) -> float | None:
    try:
        return float(number_from_disk(raw))
    except ValueError:
        return None
