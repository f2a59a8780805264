"""The live feed of a run: every emitted state as a line of states.jsonl, and metrics.csv behind it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from ckpt import files
from ckpt.encoding import dumps, printable
from ckpt.paths import RunPaths
from ckpt.runs.metrics_file import MetricsFile
from ckpt.telling import warn

if TYPE_CHECKING:
    from ckpt.state import TrainingState

log = logging.getLogger("ckpt.runs")
_encode = msgspec.json.Encoder().encode


class StateFeed:
    """Appends states for one attempt. A disk that is full warns once and never stops the training."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self._file: files.Appender | None = None
        self._table = MetricsFile(paths.metrics, paths.states)
        self._warned = False
        self.flush()

    def append(self, state: TrainingState, attempt: int) -> None:
        """Adds the scalars of a state. Raises StateError when one of them is no number."""
        metrics = state.metrics
        row = {
            "at": time.time(),
            "attempt": attempt,
            "epoch": state.epoch,
            "global_step": state.global_step,
            "learning_rate": state.learning_rate,
            "loss": state.loss,
            "metrics": metrics,
        }
        try:
            # Adding up tells in one step whether all are finite Python numbers; else the careful way.
            total = state.loss + state.learning_rate + sum(metrics.values())
            line = _encode(row) if type(total) is float and total - total == 0.0 else _careful(row)
        except (TypeError, RuntimeError, UnicodeEncodeError):
            line = _careful(row)
        if row["metrics"] is metrics:
            row["metrics"] = dict(metrics)
        try:
            if self._file is None:
                self._file = files.Appender(self._paths.states)
            self._file.append(line)
            self._table.add(row)
        except OSError as error:
            self._failed(error)

    def flush(self) -> None:
        """Brings metrics.csv up to date; failure warns."""
        try:
            self._table.flush()
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """Writes what waits and closes the files."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _failed(self, error: OSError) -> None:
        if self._file is not None:
            # Opening it anew closes the line that was torn.
            self._file.close()
            self._file = None
        name = printable(self._paths.directory.name)
        log.warning("a state of run %s could not be written: %s", name, error)
        if not self._warned:
            self._warned = True
            warn(f"states of run {name} cannot be written: {error}")


def _careful(row: dict[str, Any]) -> bytes:
    """A line of states.jsonl from numbers of any kind, which become Python's in `row` too. Raises StateError."""
    from ckpt.state import real, whole

    for name in ("epoch", "global_step"):
        row[name] = whole(row[name], name)
    for name in ("learning_rate", "loss"):
        row[name] = real(row[name], name)
    row["metrics"] = {str(name): real(value, f"metrics.{name}") for name, value in row["metrics"].items()}
    return dumps(row)
