"""When to stop: so many looks at the monitored metric in a row without improvement.

Every look is a line of early_stopping.jsonl, so the count survives a restart; going on from an earlier checkpoint
takes back the looks behind it. A checkpoint holds what the looks before it amounted to, for where that file is not: at
the start of a fork, in another run, or when lines of it are lost.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ckpt import files
from ckpt.config import CheckpointConfig
from ckpt.encoding import number_from_disk, printable
from ckpt.runs import Run
from ckpt.saving.when.decisions import monitored
from ckpt.state import TrainingState

log = logging.getLogger("ckpt.saving")


@dataclass(frozen=True)
class Standing:
    """What looks amount to."""

    best: float | None
    count: int
    """Looks in a row without improvement."""
    looks: int
    """All of them."""


@dataclass
class EarlyStopping:
    """The best value so far and how many looks ago it was."""

    patience: int | None
    threshold: float
    mode: Literal["min", "max"]
    best: float | None = None
    count: int = 0
    """Looks in a row without improvement."""
    looks: int = 0
    """All looks."""

    @property
    def stop(self) -> bool:
        """Whether patience is at its end; never without patience."""
        return self.patience is not None and self.count >= self.patience

    def begin(self, standing: Standing) -> None:
        """Goes on from what earlier looks amounted to."""
        self.best, self.count, self.looks = standing.best, standing.count, standing.looks

    def look(self, value: float) -> None:
        """Takes a value into account; NaN and infinities improve nothing."""
        self.looks += 1
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
            for _, held in looks([*written, *self._unwritten], self._metric):
                if isinstance(held, Standing):
                    self._known.begin(held)
                else:
                    self._known.look(held)
        return self._known

    @property
    def state(self) -> dict[str, Any] | None:
        """What all looks amount to, for a checkpoint; None when there was none, or nobody looks."""
        if self._config.early_stopping_patience is None or not self.now.looks:
            return None
        now = self.now
        return {"metric": self._metric, "mode": self._mode, "best": now.best, "count": now.count, "looks": now.looks}

    def check(self, state: TrainingState) -> bool:
        """Looks once more and says whether to stop; a state without the metric is passed over."""
        value = monitored(state, self._metric)
        if value is None or self._config.early_stopping_patience is None:
            return self.now.stop
        self.now.look(value)
        look = {"metric": self._metric, "epoch": state.epoch, "global_step": state.global_step, "value": value}
        self._write({"at": time.time(), **look})
        return self.now.stop

    def go_on_from(self, step: int, saved: Any, *, is_own: bool) -> None:
        """The training goes on from a step: looks behind it are taken back.

        `saved` is the `state` that the checkpoint holds. It counts where the run itself knows of fewer looks up to that
        step, and where the checkpoint is not the run's own: the run may have looked once more behind the save.
        """
        if self._config.early_stopping_patience is None:
            return
        standing = self._standing(saved)
        if not is_own and standing is None:
            return
        self._write({"at": time.time(), "return_to": step})
        self._known = None
        if standing is not None and (not is_own or standing.looks > self.now.looks):
            self._write({"at": time.time(), "metric": self._metric, "global_step": step, **asdict(standing)})
            self._known = None

    def _standing(self, saved: Any) -> Standing | None:
        if not isinstance(saved, Mapping):
            return None
        if (saved.get("metric"), saved.get("mode")) != (self._metric, self._mode):
            told = f"{printable(str(saved.get('mode')))} of {printable(str(saved.get('metric')))}"
            log.warning(
                "early stopping counts anew: the checkpoint looked at the %s, and now it is the %s of %s",
                told,
                self._mode,
                printable(self._metric),
            )
            return None
        return _standing_of(saved)

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


def looks(lines: Iterable[Any], metric: str) -> list[tuple[int, float | Standing]]:
    """Step and value of the looks at a metric that still hold, oldest first; a Standing takes the place of those before
    it.
    """
    held: list[tuple[int, float | Standing]] = []
    for line in lines:
        if not isinstance(line, dict):
            continue
        if isinstance(line.get("return_to"), int):
            held = [look for look in held if look[0] <= line["return_to"]]
        elif line.get("metric") != metric or not isinstance(line.get("global_step"), int):
            continue
        elif "looks" in line:
            standing = _standing_of(line)
            held += [] if standing is None else [(line["global_step"], standing)]
        else:
            try:
                held.append((line["global_step"], float(number_from_disk(line.get("value")))))
            except ValueError:
                continue
    return held


def _standing_of(plain: Mapping[str, Any]) -> Standing | None:
    """What a line or a checkpoint says that looks amounted to; None where it is no such thing."""
    best, count, number = plain.get("best"), plain.get("count"), plain.get("looks")
    if type(count) is not int or type(number) is not int or not 0 <= count <= number:
        return None
    if best is None:
        return Standing(None, count, number)
    is_number = isinstance(best, int | float) and not isinstance(best, bool) and math.isfinite(best)
    return Standing(float(best), count, number) if is_number else None
