"""What emitting a TrainingState costs the training: one JSON line, microseconds of wall and of CPU time a call.

python tests/bench/bench_emit.py
"""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 7
CALLS = 5000


def timed(call: Callable[[int], object]) -> tuple[float, float]:
    """Median wall and CPU microseconds a call over several rounds."""
    wall, cpu = [], []
    for _ in range(ROUNDS):
        begun, spent = time.perf_counter(), time.process_time()
        for step in range(CALLS):
            call(step)
        wall.append((time.perf_counter() - begun) / CALLS * 1e6)
        cpu.append((time.process_time() - spent) / CALLS * 1e6)
    return round(statistics.median(wall), 2), round(statistics.median(cpu), 2)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ckpt-bench-") as place:
        os.environ["CKPTD_STATE_HOME"] = str(Path(place) / "state")
        from ckpt import Run, TrainingState

        made = TrainingState(3, 0, 1e-4, 0.25, metrics={"val_loss": 0.3, "accuracy": 0.9})
        odd = TrainingState(3, 0, 1e-4, math.nan, metrics={"val_loss": math.inf})

        def emit(step: int) -> None:
            made.global_step = step
            run.emit(made)

        with Run.create(base_dir=place) as run:
            figures = {
                "emit_us": timed(emit),
                "emit_nonfinite_us": timed(lambda _: run.emit(odd)),
                "make_and_emit_us": timed(
                    lambda step: run.emit(TrainingState(3, step, 1e-4, 0.25, metrics={"val_loss": 0.3}))
                ),
            }
    print(json.dumps({"bench": "emit", "budget_us": 20, "wall_and_cpu": figures}))


if __name__ == "__main__":
    main()
