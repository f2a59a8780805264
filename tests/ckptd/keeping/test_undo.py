"""Undo takes back what somebody was shown, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import UsageError
from ckpt.paths import RunPaths
from ckpt.protocol import undo_body
from ckpt.trash import Trash


def steps(run: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in run.glob("checkpoint-*"))


@pytest.fixture
def two(foreign: Any, enforced: Any) -> tuple[Path, Path]:
    """Two foreign runs of five that keep two, not swept yet."""
    found = foreign.transformers("a"), foreign.transformers("b")
    enforced(keep_last=2)
    return found


def sweep(world: Any, *runs: Path) -> None:
    world.keeper.sweep([world.catalog.at(str(run)).run.id for run in runs])


def shown(world: Any) -> dict[str, Any]:
    act: dict[str, Any] = world.get("/v1/undo")["undo"]
    return act


def test_the_removal_that_was_shown_is_taken_back_and_no_newer_one(world: Any, two: tuple[Path, Path]) -> None:
    sweep(world, two[0])
    act = shown(world)
    assert "of a by" in act["text"]
    sweep(world, two[1])
    assert len(world.post("/v1/undo", **undo_body(act))["undone"]["restored"]) == 3
    assert [len(steps(run)) for run in two] == [5, 2]
    with pytest.raises(UsageError, match="cannot be taken back any more"):
        world.post("/v1/undo", **undo_body(act))
    assert world.post("/v1/undo", **undo_body(shown(world)))["undone"]["restored"]
    assert [len(steps(run)) for run in two] == [5, 5]


def test_the_mark_that_was_shown_is_taken_back_and_no_newer_act(world: Any, two: tuple[Path, Path]) -> None:
    ref = str(two[0] / "checkpoint-50")
    world.post("/v1/marks", ref=ref, kind="pin")
    act = shown(world)
    assert set(undo_body(act)) == {"seq"}
    world.post("/v1/marks", ref=ref, kind="note", text="good")
    sweep(world, two[0])
    assert world.post("/v1/undo", **undo_body(act))["undone"]["kind"] == "pin"
    with pytest.raises(UsageError, match="cannot be taken back any more"):
        world.post("/v1/undo", **undo_body(act))
    # Without a word of it what a person did comes first.
    assert world.post("/v1/undo")["undone"]["kind"] == "note"
    assert world.post("/v1/undo")["undone"]["kind"] == "remove"


@pytest.mark.parametrize("body", [{"plan": 3}, {"seq": "3"}, {"seq": True}, {"plan": "x", "seq": 1}])
def test_a_body_that_names_no_act_takes_nothing_back(world: Any, two: tuple[Path, Path], body: dict[str, Any]) -> None:
    sweep(world, *two)
    with pytest.raises(UsageError):
        world.post("/v1/undo", **body)
    assert [len(steps(run)) for run in two] == [2, 2]


def test_nothing_else_acts_between_the_look_and_the_undo(
    world: Any, two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(world, two[0])
    latest, other = world.undo._latest, threading.Thread(target=sweep, args=(world, two[1]))

    def looking() -> Any:
        found = latest()
        other.start()
        other.join(0.5)
        return found

    monkeypatch.setattr(world.undo, "_latest", looking)
    undone = world.post("/v1/undo")["undone"]
    other.join(60)
    acts = [act["kind"] for act in world.journal.acts()]
    assert acts == [*["remove"] * 3, *["restore"] * 3, "undo", *["remove"] * 3]
    assert "of a by" in undone["text"] and len(undone["restored"]) == 3
    assert [len(steps(run)) for run in two] == [5, 2]


def test_what_a_training_removes_in_the_very_moment_stays_removed(
    world: Any, two: tuple[Path, Path], runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = runs.run("exp1", checkpoints=3, policy={"keep_last": 3})
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    sweep(world, two[0])
    latest = world.undo._latest
    (oldest,) = (c for c in world.catalog.at(str(directory)).checkpoints if c.step == 10)

    def looking() -> Any:
        found = latest()
        Trash(RunPaths(directory).trash).remove(
            [Path(file) for file in oldest.files],
            run=oldest.run, checkpoint={"id": oldest.id}, plan="trainers", reasons=(), keep_for_s=3600.0,
        )  # fmt: skip
        return found

    monkeypatch.setattr(world.undo, "_latest", looking)
    assert len(world.post("/v1/undo")["undone"]["restored"]) == 3
    assert len(steps(two[0])) == 5 and not Path(oldest.path).exists()


def test_a_batch_with_a_name_that_is_taken_comes_back_but_for_that_one(world: Any, two: tuple[Path, Path]) -> None:
    run = two[0]
    sweep(world, run)
    (run / "checkpoint-20").mkdir()
    undone = world.post("/v1/undo")["undone"]
    assert len(undone["restored"]) == 2
    assert [(Path(item["path"]).name, "taken" in item["reason"]) for item in undone["left"]] == [
        ("checkpoint-20", True)
    ]
    assert [act["kind"] for act in world.journal.acts()].count("undo") == 1
    # Nothing comes back: that is no undo.
    undone = world.post("/v1/undo")["undone"]
    assert undone["restored"] == [] and len(undone["left"]) == 1
    assert [act["kind"] for act in world.journal.acts()].count("undo") == 1
    (run / "checkpoint-20").rmdir()
    assert len(world.post("/v1/undo")["undone"]["restored"]) == 1
    assert steps(run) == [10, 20, 30, 40, 50] and shown(world) is None
