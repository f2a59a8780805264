"""When to stop: so many looks at the monitored metric in a row without improvement.

Every look is a line of early_stopping.jsonl, so the count survives a restart; going on from an earlier checkpoint
takes back the looks behind it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ckpt import files
from ckpt.config import CheckpointConfig
from ckpt.encoding import number_from_disk
from ckpt.runs import Run
from ckpt.saving.when.decisions import monitored
from ckpt.state import TrainingState

log = logging.getLogger("ckpt.saving")


@dataclass
class EarlyStopping:
    """The best value so far and how many looks ago it was."""

    patience: int | None
    threshold: float
    mode: Literal["min", "max"]
    best: float | None = None
    count: int = 0
    """Looks in a row without improvement."""

    @property
    def stop(self) -> bool:
        """Whether patience is at its end; never without patience."""
        return self.patience is not None and self.count >= self.patience

    def look(self, value: float) -> None:
        """Takes a value into account; NaN and infinities improve nothing."""
        if self._improves(value):
            self.best, self.count = value, 0
        else:
            self.count += 1

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.threshold


class Patience:
    """Early stopping of one run: its looks on disk, and what follows from them.

    Looks made before this process trains the run are written when it does.
    """

    def __init__(self, run: Run, config: CheckpointConfig, metric: str, mode: Literal["min", "max"]) -> None:
        self._run = run
        self._config = config
        self._metric = metric
        self._mode = mode
        self._unwritten: list[dict[str, Any]] = []
        self._known: EarlyStopping | None = None

    @property
    def now(self) -> EarlyStopping:
        """What all looks that still hold amount to."""
        if self._known is None:
            self._known = EarlyStopping(
                self._config.early_stopping_patience, self._config.early_stopping_threshold, self._mode
            )
            written = () if self._run.directory is None else files.read_json_lines(self._run.paths.early_stopping)
            for _, value in looks([*written, *self._unwritten], self._metric):
                self._known.look(value)
        return self._known

    def check(self, state: TrainingState) -> bool:
        """Looks once more and says whether to stop; a state without the metric is passed over."""
        value = monitored(state, self._metric)
        if value is None or self._config.early_stopping_patience is None:
            return self.now.stop
        self.now.look(value)
        look = {"metric": self._metric, "epoch": state.epoch, "global_step": state.global_step, "value": value}
        self._write({"at": time.time(), **look})
        return self.now.stop

    def return_to(self, step: int) -> None:
        """The training goes on from a step: looks behind it are taken back."""
        if self._config.early_stopping_patience is not None:
            self._write({"at": time.time(), "return_to": step})
            self._known = None

    def _write(self, line: dict[str, Any]) -> None:
        self._unwritten.append(line)
        if not self._run.training:
            return
        try:
            while self._unwritten:
                files.append_json(self._run.paths.early_stopping, self._unwritten[0], sync=False)
                del self._unwritten[0]
        except OSError as error:
            log.warning("a look of early stopping could not be written: %s", error)


def looks(lines: Iterable[Any], metric: str) -> list[tuple[int, float]]:
    """Step and value of the looks at a metric that still hold, oldest first."""
    held: list[tuple[int, float]] = []
    for line in lines:
        if not isinstance(line, dict):
            continue
        if isinstance(line.get("return_to"), int):
            held = [look for look in held if look[0] <= line["return_to"]]
        elif line.get("metric") == metric and isinstance(line.get("global_step"), int):
            try:
                held.append((line["global_step"], float(number_from_disk(line.get("value")))))
            except ValueError:
                continue
    return held
