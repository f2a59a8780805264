"""Which acts can be taken back, whose they are, and which of them is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt.paths import RunPaths
from ckpt.trash import Trash
from ckptd.keeping import undo


@pytest.fixture
def run(foreign: Any, enforced: Any) -> Path:
    """A foreign run of five that keeps two, not swept yet."""
    directory: Path = foreign.transformers("a")
    enforced(keep_last=2)
    return directory


def told(world: Any) -> list[tuple[str, str]]:
    return [(act["kind"], act["by"]) for act in world.get("/v1/undo")["acts"]]


def test_what_a_person_applied_is_theirs_and_what_was_swept_the_daemons(world: Any, run: Path) -> None:
    ident = world.catalog.at(str(run)).run.id
    plan = world.keeper.plan(ident)
    world.keeper.apply(plan.id)
    assert told(world) == [("remove", "you")]
    (act,) = world.get("/v1/undo")["acts"]
    assert act["id"] == act["plan"] == plan.id
    world.post("/v1/undo", plan=plan.id)
    assert told(world) == []


def test_what_a_training_removed_is_its_own(world: Any, run: Path, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=3, policy={"keep_last": 3})
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    (oldest,) = (c for c in world.catalog.at(str(directory)).checkpoints if c.step == 10)
    Trash(RunPaths(directory).trash).remove(
        [Path(file) for file in oldest.files],
        run=oldest.run, checkpoint={"id": oldest.id}, plan="", reasons=(), keep_for_s=3600.0,
    )  # fmt: skip
    world.keeper.sweep([world.catalog.at(str(run)).run.id])
    assert sorted(told(world)) == [("remove", "daemon"), ("remove", "training")]
    theirs = next(act for act in world.get("/v1/undo")["acts"] if act["by"] == "training")
    assert theirs["id"] == theirs["entries"][0], "without a plan it is known by its entry"
    (mine,) = world.get(f"/v1/undo?run={directory}")["acts"]
    assert mine == theirs == world.get(f"/v1/undo?run={directory}")["undo"]
    world.post("/v1/undo", plan="")
    assert told(world) == [("remove", "daemon")]


def test_what_a_person_did_is_meant_for_a_day(world: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.post("/v1/marks", ref=str(run / "checkpoint-50"), kind="pin")
    world.keeper.sweep([world.catalog.at(str(run)).run.id])
    assert world.get("/v1/undo")["undo"]["kind"] == "pin"
    monkeypatch.setattr(undo, "RECENT_S", 0.0)
    assert world.get("/v1/undo")["undo"]["kind"] == "remove"


def test_of_marks_about_the_same_thing_only_the_last_can_be_taken_back(world: Any, run: Path) -> None:
    for number, name in ((40, "x"), (50, "x"), (50, "y")):
        world.post("/v1/marks", ref=str(run / f"checkpoint-{number}"), kind="tag", name=name)
    world.post("/v1/policy", run=str(run), policy={"keep_last": 3})
    world.post("/v1/policy", run=str(run), policy={"keep_last": 4})
    texts = [act["text"] for act in world.get("/v1/undo")["acts"]]
    assert texts == ["policy on a", "tag y on a/checkpoint-50", "tag x on a/checkpoint-50"]
    world.post("/v1/undo")
    assert world.get(f"/v1/policy?run={run}")["policy"]["keep_last"] == 3
    assert world.get("/v1/undo")["undo"]["text"] == "policy on a"
