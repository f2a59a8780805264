from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckpt import files, marks, pointers
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt.trash import Trash

POLICY = {"keep_last": 2}


@pytest.fixture
def five(world: Any, runs: Any) -> Path:
    """A run of five checkpoints that keeps two, known but not swept yet."""
    directory: Path = runs.run("exp1", checkpoints=5, policy=POLICY)
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    return directory


def steps(directory: Path) -> list[str]:
    return sorted(path.stem for path in (directory / "checkpoints").glob("step-*.pt"))


def run_id(world: Any, directory: Path) -> str:
    return str(world.catalog.at(str(directory)).run.id)


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


def test_a_policy_is_enforced_into_the_trash_and_journaled_before(world: Any, five: Path) -> None:
    sweep(world)
    assert steps(five) == ["step-000040", "step-000050"]
    assert [act["kind"] for act in world.journal.acts()] == ["remove"] * 3
    assert world.kinds().count("checkpoint.trashed") == 3
    entries = world.get("/v1/trash")["entries"]
    assert len(entries) == 3
    assert all(entry["near_misses"] for entry in entries)
    assert world.catalog.at(str(five)).run.checkpoints == 2
    assert world.scanner.counts.errors == 0


def test_nothing_happens_while_somebody_trains(world: Any, five: Path) -> None:
    lock = files.FileLock(RunPaths(five).lock)
    lock.acquire({"pid": 1, "program": "train.py"})
    world.keeper.sweep([run_id(world, five)])
    assert len(steps(five)) == 5
    assert not RunPaths(five).trash.exists()
    lock.release()


def test_a_run_without_rules_and_a_foreign_one_are_left_alone(world: Any, runs: Any, tmp_path: Path) -> None:
    import torch

    directory = runs.run("free", checkpoints=4)
    foreign = runs.base / "foreign"
    foreign.mkdir()
    for step in range(4):
        torch.save({"w": torch.zeros(2), "step": step}, foreign / f"s{step}.pt")
    before = sorted(foreign.iterdir())
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    sweep(world)
    assert len(steps(directory)) == 4
    assert sorted(foreign.iterdir()) == before


def test_a_file_that_changes_between_plan_and_act_stays(
    world: Any, five: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ckptd.keeping import rechecking

    real = rechecking.changed

    def late_writer(base: Any, checkpoint: Any, *rest: Any) -> str | None:
        if checkpoint.step == 20:
            os.utime(checkpoint.path, ns=(1, 1))
        return real(base, checkpoint, *rest)

    monkeypatch.setattr(rechecking, "changed", late_writer)
    plan = world.get(f"/v1/plan?run={run_id(world, five)}")
    answer = world.post("/v1/apply", plan=plan["id"])
    assert len(answer["removed"]) == 2
    assert [item["reason"] for item in answer["skipped"]] == ["it changed since it was planned"]
    assert "step-000020" in steps(five)


def test_a_pin_between_plan_and_apply_changes_the_plan(world: Any, five: Path) -> None:
    plan = world.get("/v1/plan")
    victim = plan["runs"][0]["remove"][0]["id"]
    marks.append(RunPaths(five).marks, "pin", victim)
    with pytest.raises(OperationError, match="the world changed") as error:
        world.post("/v1/apply", plan=plan["id"])
    assert world.get("/v1/plan")["id"] in str(error.value.hint)
    assert len(steps(five)) == 5


def test_an_unknown_plan_names_the_present_one(world: Any, five: Path) -> None:
    with pytest.raises(UsageError) as error:
        world.post("/v1/apply", plan="deadbeef")
    assert world.get("/v1/plan")["id"] in str(error.value.hint)


def test_a_plan_of_one_run_is_applied_to_that_run_only(world: Any, five: Path, runs: Any) -> None:
    other = runs.run("exp2", checkpoints=5, policy=POLICY)
    world.scanner.full()
    plan = world.get("/v1/plan?run=exp1")
    answer = world.post("/v1/apply", plan=plan["id"])
    assert len(answer["removed"]) == 3
    assert len(steps(five)) == 2
    assert len(steps(other)) == 5


def test_the_same_request_twice_acts_once(world: Any, five: Path) -> None:
    plan = world.get("/v1/plan")["id"]
    first = world.post("/v1/apply", plan=plan, key="k1")
    assert world.post("/v1/apply", plan=plan, key="k1") == first


def test_restored_checkpoints_are_pinned_and_stay(world: Any, five: Path) -> None:
    sweep(world)
    ids = [entry["id"] for entry in world.get("/v1/trash")["entries"]]
    restored = world.post("/v1/trash/restore", ids=ids)["restored"]
    assert len(restored) == 3
    assert len(steps(five)) == 5
    assert set(marks.read(RunPaths(five).marks).pins.values()) == {"restored"}
    sweep(world)
    assert len(steps(five)) == 5


def test_restore_takes_checkpoint_ids_and_refuses_unknown_ones_whole(world: Any, five: Path) -> None:
    sweep(world)
    entry = world.get("/v1/trash")["entries"][0]
    with pytest.raises(AddressError):
        world.post("/v1/trash/restore", ids=[entry["checkpoint"]["id"], "nothing"])
    assert len(steps(five)) == 2
    world.post("/v1/trash/restore", ids=[entry["checkpoint"]["id"]])
    assert len(steps(five)) == 3


def test_purge_deletes_for_good_and_says_how_much(world: Any, five: Path) -> None:
    sweep(world)
    entries = world.get("/v1/trash")["entries"]
    answer = world.post("/v1/trash/purge", ids=[entries[0]["id"]])
    assert answer["freed"] >= entries[0]["bytes"] > 0
    assert len(world.get("/v1/trash")["entries"]) == 2
    assert "checkpoint.purged" in world.kinds()


def test_what_waited_long_enough_is_purged_by_itself(world: Any, five: Path, passes: Any) -> None:
    sweep(world)
    world.keeper.purge_due()
    passes(86399 - 60)
    world.keeper.purge_due()
    assert len(Trash(RunPaths(five).trash).entries()) == 3
    passes(61)
    world.keeper.purge_due()
    assert Trash(RunPaths(five).trash).entries() == []


def test_pointers_follow_a_new_best(world: Any, five: Path) -> None:
    paths = RunPaths(five)
    pointers.swap(paths.best, paths.checkpoints / "step-000010.pt")
    sweep(world)
    assert pointers.points_at(paths.best, paths.checkpoints / "step-000050.pt")
    assert not paths.latest.exists()


def test_a_trash_that_cannot_be_made_is_tried_again_later_and_not_at_once(world: Any, five: Path) -> None:
    RunPaths(five).trash.write_text("in the way")
    sweep(world)
    sweep(world)
    assert world.scanner.counts.errors == 1
    assert len(steps(five)) == 5


def test_undo_takes_back_the_latest_act_first(world: Any, five: Path) -> None:
    sweep(world)
    world.post("/v1/marks", ref="exp1@latest", kind="tag", name="paper")
    assert world.get("/v1/undo")["undo"]["kind"] == "tag"
    assert world.post("/v1/undo")["undone"]["kind"] == "tag"
    assert "paper" not in world.get("/v1/resolve?ref=exp1@latest")["checkpoint"]["tags"]
    undone = world.post("/v1/undo")["undone"]
    assert undone["kind"] == "remove"
    assert len(undone["restored"]) == 3
    assert len(steps(five)) == 5
    with pytest.raises(UsageError, match="nothing to undo"):
        world.post("/v1/undo")


def test_undo_knows_what_a_training_removed_itself(world: Any, five: Path) -> None:
    paths = RunPaths(five)
    target = paths.checkpoints / "step-000010.pt"
    checkpoint = next(c for c in world.catalog.at(str(five)).checkpoints if c.step == 10)
    Trash(paths.trash).remove(
        [target, paths.marker_of(target)],
        run=checkpoint.run,
        checkpoint={"id": checkpoint.id},
        plan="trainers",
        reasons=[],
        keep_for_s=1000,
    )
    assert world.get("/v1/undo")["undo"]["plan"] == "trainers"
    world.post("/v1/undo")
    assert target.exists()


def test_what_has_to_stay_is_not_tried_again_at_once(world: Any, five: Path, tmp_path: Path) -> None:
    (five / "checkpoints").rename(tmp_path / "elsewhere")
    (five / "checkpoints").symlink_to(tmp_path / "elsewhere")
    world.scanner.full()
    sweep(world)
    assert len(steps(five)) == 5
    # Every attempt writes the lock file, which is an event that leads to the next one.
    tried = (five / "run.lock").stat().st_mtime_ns
    sweep(world)
    assert (five / "run.lock").stat().st_mtime_ns == tried
