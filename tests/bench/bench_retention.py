"""CPU time of plans over 100 000 checkpoints; prints one JSON line.

`plan` is a common policy and `rich` one of all rules, over a run of our own; `foreign` is one of somebody else's, of
which the last save settles. What the garbage collector does meanwhile counts.

python tests/bench/bench_retention.py [COUNT]
"""

from __future__ import annotations

import json
import random
import sys
import time

from ckpt.records import Checkpoint
from ckpt.retention import FOREIGN, OWN, Policy, combine, plan

NOW = 1.8e9


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
            metrics={"val_loss": chance.random(), "acc": chance.random()},
            bytes=1 << 30,
            saved_at=1.7e9 + number,
            pinned=number % 1000 == 0,
            tags=("paper",) if number % 5000 == 0 else (),
        )
        for number in range(count)
    ]
    chance.shuffle(checkpoints)
    return checkpoints


def foreign_world(count: int) -> list[Checkpoint]:
    """The same run as another tool would have written it, each save in a directory of its step."""
    return [
        checkpoint.evolve(
            path=f"/runs/exp/step-{checkpoint.step}/model.pt",
            framework="lightning",
            seq=None,
            kinds={"weights": 1 << 29, "optimizer": 1 << 29},
            unique_bytes=1 << 30,
            saved_at=NOW - (count - number) * 60.0,
            touched_at=NOW - (count - number - 1) * 60.0 - 1,
        )
        for checkpoint in world(count)
        if (number := checkpoint.seq) is not None
    ]


POLICIES = {
    "plan": Policy(keep_last=5, keep_best=3, monitor="val_loss", keep_every_n_epochs=10, keep_every_n_steps=5000),
    "rich": Policy(
        keep_last=5,
        keep_best=3,
        monitor="val_loss",
        keep_best_of={"acc": {"keep": 3, "mode": "max"}},
        keep_every_n_epochs=10,
        keep_every_n_steps=5000,
        keep_every=({"every": 3600.0, "within": 86400.0}, {"every": 86400.0, "within": None}),
        keep_within=7200.0,
        keep_steps=(1000, 2000),
        max_age=3600.0,
        max_bytes=10**13,
    ),
    "foreign": Policy(
        keep_last=5,
        keep_best=3,
        monitor="val_loss",
        keep_best_of={"acc": {"keep": 3, "mode": "max"}},
        keep_every_n_epochs=10,
    ),
}


def main() -> None:
    """Measures, prints, asserts nothing about the clock."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    figures: dict[str, object] = {"bench": "retention", "checkpoints": count}
    for name, policy in POLICIES.items():
        checkpoints = foreign_world(count) if name == "foreign" else world(count)
        situation = FOREIGN.evolve(enforced=True) if name == "foreign" else OWN
        planned, combined, removed = [], [], 0
        for _ in range(5):
            start = time.process_time()
            made = plan(checkpoints, policy, NOW, situation=situation)
            middle = time.process_time()
            combine([made])
            planned.append(middle - start)
            combined.append(time.process_time() - middle)
            removed = len(made.remove)
            del made  # what an earlier plan holds is no part of the next one
        figures |= {
            f"{name}_removed": removed,
            f"{name}_ms": round(min(planned) * 1000, 1),
            f"{name}_combine_ms": round(min(combined) * 1000, 1),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
