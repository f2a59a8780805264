"""Metrics over steps: from what a training writes as it goes, else from its checkpoints."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt.scan.live import curves_of
from ckpt.scan.live.rows import Row
from ckpt.scan.live.series import Collected
from ckpt.scan.reading import read_run
from ckpt.scan.view import RunView


def curves(directory: Path, *, points: int = 500) -> dict[str, list[tuple[int, float]]]:
    """Every metric of a run over its steps, at most about `points` each, the last always among them.

    All metrics together have at most about a million points. Where a resumed training went back, the abandoned steps
    are left out. A run that writes no metrics gives the values of its checkpoints. Raises OSError when the directory
    cannot be read.
    """
    os.listdir(directory)
    return curves_of(directory, points) or _of_checkpoints(read_run(directory), points)


def _of_checkpoints(view: RunView, points: int) -> dict[str, list[tuple[int, float]]]:
    collected = Collected(points, together=False)
    oldest_first = list(reversed(view.checkpoints))
    if not view.run.own:
        # The order in which they were written may be lost, as in a copy: a lower step is no way back.
        oldest_first.sort(key=lambda checkpoint: checkpoint.step or 0)
    for checkpoint in oldest_first:
        if checkpoint.step is not None:
            loss = {} if checkpoint.loss is None else {"loss": checkpoint.loss}
            collected.add(Row(checkpoint.step, checkpoint.epoch, {**loss, **checkpoint.metrics}))
    return collected.curves()
