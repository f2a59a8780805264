"""CPU time of a plan over 100 000 checkpoints; prints one JSON line.

python tests/bench/bench_retention.py [COUNT]
"""

from __future__ import annotations

import json
import random
import sys
import time

from ckpt.records import Checkpoint
from ckpt.retention import Policy, combine, plan


def world(count: int) -> list[Checkpoint]:
    """A run of `count` checkpoints in no order, some pinned or tagged."""
    chance = random.Random(7)
    checkpoints = [
        Checkpoint(
            id=f"{number:012x}",
            run="a" * 32,
            path=f"/runs/exp/checkpoints/step-{number:06d}.pt",
            seq=number,
            step=number * 100,
            epoch=number // 4,
            metrics={"val_loss": chance.random()},
            bytes=1 << 30,
            saved_at=1.7e9 + number,
            pinned=number % 1000 == 0,
            tags=("paper",) if number % 5000 == 0 else (),
        )
        for number in range(count)
    ]
    chance.shuffle(checkpoints)
    return checkpoints


def main() -> None:
    """Measures, prints, asserts nothing about the clock."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    checkpoints = world(count)
    policy = Policy(keep_last=5, keep_best=3, monitor="val_loss", keep_every_n_epochs=10, keep_every_n_steps=5000)
    planned, combined, removed = [], [], 0
    for _ in range(5):
        start = time.process_time()
        made = plan(checkpoints, policy, 1.8e9)
        middle = time.process_time()
        combine([made])
        planned.append(middle - start)
        combined.append(time.process_time() - middle)
        removed = len(made.remove)
    figures = {
        "bench": "retention",
        "checkpoints": count,
        "removed": removed,
        "plan_ms": round(min(planned) * 1000, 1),
        "combine_ms": round(min(combined) * 1000, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
