"""A run of which it is not known what its trainer needs: the daemon removes nothing of it, and says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt import marks


def sweep(world: Any, run: Path) -> list[int]:
    """The steps that are left after the daemon has looked and acted."""
    world.scanner.full()
    world.keeper.sweep([view.run.id for view in world.catalog.all()])
    return sorted(int(path.name.split("-")[1]) for path in run.glob("checkpoint-*"))


@pytest.mark.parametrize("torn", ["", "checkpoint-", "checkpoint-20\ncheckpoint-30"])
def test_while_a_pointer_says_nothing_nothing_goes(
    world: Any, foreign: Any, enforced: Callable[..., None], torn: str
) -> None:
    run = foreign.transformers()
    (run / "latest").write_text(torn)
    enforced(keep_last=1)
    assert sweep(world, run) == [10, 20, 30, 40, 50]
    [told] = world.get(f"/v1/plan?run={run}")["runs"]
    assert told["skip"] and not told["remove"]
    assert all(
        "what its trainer goes on from is not known" in skipped["reasons"][0]["text"] for skipped in told["skip"]
    )
    (run / "latest").write_text("checkpoint-20")
    assert sweep(world, run) == [20, 50]


def test_a_policy_from_a_later_version_stops_its_run_alone(
    world: Any, foreign: Any, enforced: Callable[..., None]
) -> None:
    strange, plain = foreign.transformers("strange"), foreign.transformers("plain")
    enforced(keep_last=2)
    view = next(view for view in world.catalog.all() if view.run.path == str(strange))
    file = world.state.marks / f"{view.run.id}.jsonl"
    marks.append(file, "policy", None, policy={"keep_last": 2, "keep_until_the_moon_is_full": True})
    assert sweep(world, strange) == [10, 20, 30, 40, 50]
    assert sweep(world, plain) == [40, 50]
    view = next(view for view in world.catalog.all() if view.run.path == str(strange))
    assert any("its policy cannot be used" in problem for problem in view.run.problems)
