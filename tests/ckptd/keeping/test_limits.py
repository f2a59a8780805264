"""How much goes unasked: one wrong line in a policy must not empty many runs over night."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ckptd.config.values import Config, Limits


def sweep_one_by_one(world: Any) -> None:
    """As events tell of runs: each in a sweep of its own."""
    for view in world.catalog.all():
        world.keeper.sweep([view.run.id])


def files_of(base: Path) -> int:
    return sum(1 for path in base.glob("*/checkpoints/*.ckpt"))


def test_a_policy_that_became_stricter_on_200_runs_empties_none(world: Any, foreign: Any, enforced: Any) -> None:
    foreign.lightning("run000", epochs=8)
    for number in range(1, 200):
        shutil.copytree(foreign.base / "run000", foreign.base / f"run{number:03}")
    enforced(keep_last=8, max_share=0.5)
    assert len(world.catalog.all()) == 200
    sweep_one_by_one(world)
    assert files_of(foreign.base) == 1600 and world.keeper.asks() == []
    # No run alone loses more than its share, and together they would lose 800.
    world.roots.set_policy(str(foreign.base), {"keep_last": 4, "monitor": "none", "max_share": 0.5, "min_age": 0})
    world.scanner.govern()
    sweep_one_by_one(world)
    sweep_one_by_one(world)
    world.keeper.sweep([view.run.id for view in world.catalog.all()])
    assert files_of(foreign.base) == 1600
    (ask,) = world.keeper.asks()
    assert ask["run"] is None and "800 checkpoints of 200 runs" in ask["text"]
    assert world.kinds().count("plan.asks") == 1
    assert world.get("/v1/status")["asks"] == [{**ask, "name": None}]
    # Back to what it was: nothing is asked any more.
    world.roots.set_policy(str(foreign.base), {"keep_last": 8, "monitor": "none", "max_share": 0.5, "min_age": 0})
    world.scanner.govern()
    world.keeper.sweep([view.run.id for view in world.catalog.all()])
    assert world.keeper.asks() == [] and files_of(foreign.base) == 1600


def test_all_together_go_when_a_person_confirms(world: Any, foreign: Any, enforced: Any) -> None:
    for name in ("a", "b", "c"):
        foreign.lightning(name)
    world.policies.config = Config(limits=Limits(removals_per_pass=5))
    enforced(keep_last=3)
    sweep_one_by_one(world)
    (ask,) = world.keeper.asks()
    assert "6 checkpoints of 3 runs" in ask["text"] and files_of(foreign.base) == 15
    assert len(world.post("/v1/apply", plan=ask["plan"])["removed"]) == 6
    assert files_of(foreign.base) == 9 and world.keeper.asks() == []


def test_a_run_above_its_limits_asks_and_the_others_go_on(world: Any, foreign: Any, enforced: Any) -> None:
    foreign.lightning("large", epochs=8)
    foreign.lightning("small", epochs=4)
    world.policies.config = Config(limits=Limits(removals_per_run=3))
    enforced(keep_last=2)
    sweep_one_by_one(world)
    assert len(list((foreign.base / "large" / "checkpoints").iterdir())) == 8
    assert len(list((foreign.base / "small" / "checkpoints").iterdir())) == 2
    (ask,) = world.keeper.asks()
    assert "6 checkpoints of one run" in ask["text"]
    assert len(world.post("/v1/apply", plan=ask["plan"])["removed"]) == 6


def test_bytes_are_a_limit_too(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.lightning()
    world.policies.config = Config(limits=Limits(bytes_per_run=1000))
    enforced(keep_last=2)
    sweep_one_by_one(world)
    assert len(list(run.iterdir())) == 5
    assert "and 1 kB is the limit" in world.keeper.asks()[0]["text"]
