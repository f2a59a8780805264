"""Metrics over steps, from the states that a run emitted."""

from __future__ import annotations

from pathlib import Path

from ckpt import files
from ckpt.encoding import metrics_from_disk
from ckpt.paths import RunPaths
from ckpt.scan.numbers import number_or_none, whole_or_none
from ckpt.scan.reading import read_run


def curves(directory: Path, *, points: int = 500) -> dict[str, list[tuple[int, float]]]:
    """Every metric of a run over its steps, at most about `points` each, the last always among them.

    Where a resumed training went back, the abandoned steps are left out. A run that emits no states gives the values of
    its checkpoints. Raises OSError when the directory cannot be read.
    """
    series: dict[str, list[tuple[int, float]]] = {}
    previous = -1
    for line in files.read_json_lines(RunPaths(directory).states):
        step = whole_or_none(line.get("global_step")) if isinstance(line, dict) else None
        if step is None:
            continue
        if step < previous:
            for values in series.values():
                while values and values[-1][0] >= step:
                    values.pop()
        previous = step
        metrics = metrics_from_disk(line.get("metrics"))
        for name in ("loss", "learning_rate"):
            value = number_or_none(line.get(name))
            if value is not None:
                metrics.setdefault(name, value)
        for name, value in metrics.items():
            series.setdefault(name, []).append((step, value))
    if not series:
        for checkpoint in reversed(read_run(directory).checkpoints):
            if checkpoint.step is None:
                continue
            metrics = dict(checkpoint.metrics)
            if checkpoint.loss is not None:
                metrics.setdefault("loss", checkpoint.loss)
            for name, value in metrics.items():
                series.setdefault(name, []).append((checkpoint.step, value))
    return {name: _thin(values, points) for name, values in series.items()}


def _thin(values: list[tuple[int, float]], points: int) -> list[tuple[int, float]]:
    if len(values) <= points:
        return values
    stride = -(-len(values) // points)
    thinned = values[::stride]
    return thinned if thinned[-1] == values[-1] else [*thinned, values[-1]]
