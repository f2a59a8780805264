from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckpt.paths import RunPaths
from ckptd.states import state_json


def watch(world: Any, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    world.roots.add(str(directory), "observe", [])


def paths(world: Any) -> list[str]:
    return sorted(view.run.name for view in world.catalog.all())


def test_a_full_look_finds_runs_and_then_reads_nothing_again(world: Any, runs: Any) -> None:
    runs.run("exp1", checkpoints=2)
    runs.run("exp2", checkpoints=1)
    watch(world, runs.base)
    assert len(world.scanner.full()) == 2
    world.scanner.full()
    assert world.scanner.full() == set()
    assert paths(world) == ["exp1", "exp2"]


def test_a_quick_look_sees_every_kind_of_change(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    watch(world, runs.base)
    world.scanner.full()
    world.scanner.full()
    runs.checkpoint(directory, step=99, loss=0.1)
    assert len(world.scanner.full()) == 1
    assert world.catalog.at(str(directory)).run.checkpoints == 3
    world.scanner.full()
    (directory / "checkpoints" / "step-000010.pt").write_bytes(b"rewritten")
    world.scanner.full()
    assert "corrupt" in {c.state for c in world.catalog.at(str(directory)).checkpoints}


def test_dirty_directories_lead_to_their_runs(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    runs.checkpoint(directory, step=500, loss=0.2)
    read = world.scanner.dirty({str(directory / "checkpoints"): True})
    assert read == {world.catalog.at(str(directory)).run.id}
    assert "checkpoint.complete" in world.kinds()


def test_a_new_directory_is_found_and_a_removed_one_is_gone(world: Any, runs: Any) -> None:
    watch(world, runs.base)
    world.scanner.full()
    directory = runs.run("deep/er/exp9", checkpoints=1)
    world.scanner.dirty({str(directory.parent.parent): True})
    assert paths(world) == ["exp9"]
    shutil.rmtree(runs.base / "deep")
    world.scanner.dirty({str(runs.base / "deep"): True})
    assert paths(world) == []
    assert world.kinds()[-1] == "run.removed"


def test_excluded_and_unstructural_directories_cost_nothing(world: Any, runs: Any) -> None:
    watch(world, runs.base)
    world.scanner.full()
    (runs.base / "wandb" / "x").mkdir(parents=True)
    assert world.scanner.dirty({str(runs.base / "wandb" / "x"): True}) == set()
    assert world.scanner.dirty({str(runs.base / "notes"): False}) == set()


def test_a_root_that_vanishes_marks_nothing_gone_and_recovers(world: Any, runs: Any, tmp_path: Path) -> None:
    runs.run("exp1", checkpoints=2)
    watch(world, runs.base)
    world.scanner.full()
    runs.base.rename(tmp_path / "away")
    world.scanner.full()
    world.scanner.dirty({str(runs.base): True, str(runs.base / "exp1"): True})
    root = world.roots.all()[0]
    assert root.state == "degraded"
    assert world.get("/v1/runs")["runs"][0]["checkpoints"] == 2
    (tmp_path / "away").rename(runs.base)
    world.scanner.full()
    assert root.state == "ok"
    assert [kind for kind in world.kinds() if kind.startswith("root.")] == ["root.degraded", "root.ok"]


def test_another_directory_in_its_place_is_believed_only_when_added_again(
    world: Any, runs: Any, tmp_path: Path
) -> None:
    runs.run("exp1", checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    runs.base.rename(tmp_path / "away")
    runs.base.mkdir()
    world.scanner.full()
    assert paths(world) == ["exp1"]
    answer = world.post("/v1/roots", path=str(runs.base))
    assert answer["root"]["state"] == "ok"
    assert paths(world) == []


def test_an_empty_root_after_a_restart_is_a_disk_that_is_not_mounted(
    make_world: Callable[[], Any], runs: Any, tmp_path: Path
) -> None:
    first = make_world()
    runs.run("exp1", checkpoints=1)
    watch(first, runs.base)
    first.scanner.full()
    first.catalog.flush()
    shutil.move(runs.base / "exp1", tmp_path / "exp1")
    second = make_world()
    second.scanner.full()
    assert paths(second) == ["exp1"]
    assert second.roots.all()[0].state == "degraded"
    assert "ckpt watch add" in second.roots.all()[0].problem


def test_an_emptied_root_in_one_life_is_simply_empty(world: Any, runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    shutil.rmtree(runs.base / "exp1")
    world.scanner.full()
    assert paths(world) == []
    assert world.roots.all()[0].state == "ok"


def test_a_run_that_breaks_a_reader_does_not_hide_the_others(
    world: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ckpt import scan

    runs.run("bad", checkpoints=1)
    runs.run("good", checkpoints=1)
    watch(world, runs.base)
    real = scan.read_run

    def read_run(directory: Path, **options: Any) -> Any:
        if directory.name == "bad":
            raise RuntimeError("a bug")
        return real(directory, **options)

    monkeypatch.setattr(scan, "read_run", read_run)
    world.scanner.full()
    assert paths(world) == ["good"]
    assert world.scanner.counts.errors == 1
    assert "a bug" in world.scanner.counts.last_error


def test_an_announced_run_is_seen_outside_all_roots_until_it_is_deleted(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    note = world.state.announced / "x.json"
    note.parent.mkdir()
    files.write_json(note, {"path": str(directory), "id": "x"})
    world.scanner.full()
    assert paths(world) == ["exp1"]
    assert world.catalog.all()[0].run.root == str(runs.base)
    shutil.rmtree(directory)
    world.scanner.full()
    assert paths(world) == []
    assert not note.exists()


def test_an_announced_run_joins_a_root_put_above_it_and_outlives_it(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    theirs = runs.base / "theirs" / "epoch=1.pt"
    theirs.parent.mkdir()
    (directory / "checkpoints" / "step-000010.pt").rename(theirs)
    runs.checkpoint(directory, step=20)
    world.post("/v1/announce", path=str(directory))
    note = world.state.announced / "x.json"
    note.parent.mkdir()
    files.write_json(note, {"path": str(directory), "id": "x"})
    above = str(runs.base.parent)
    assert world.post("/v1/roots", path=above)["root"]["runs"] == 2
    assert {view.run.root for view in world.catalog.all()} == {above}
    world.post("/v1/roots/remove", path=above)
    assert paths(world) == ["exp1"]
    assert world.catalog.all()[0].run.root == str(runs.base)
    assert world.kinds().count("run.removed") == 1


def test_an_announcement_below_a_missing_disk_is_kept(world: Any, runs: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=1)
    note = world.state.announced / "x.json"
    note.parent.mkdir()
    files.write_json(note, {"path": str(directory), "id": "x"})
    world.scanner.full()
    runs.base.rename(tmp_path / "away")
    world.scanner.full()
    assert note.exists()


def test_states_of_a_training_are_told_and_its_end_is_seen(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    watch(world, runs.base)
    lock = files.FileLock(RunPaths(directory).lock)
    lock.acquire({"pid": 1, "program": "train.py"})
    world.scanner.full()
    assert world.catalog.all()[0].run.status == "training"
    files.append_json(directory / "states.jsonl", {"at": 1.0, "epoch": 1, "global_step": 7, "loss": float("nan")})
    world.scanner.poll_training()
    world.scanner.poll_training()
    told = [event for event in world.events.since(None) if event["kind"] == "state"]
    assert [(event["step"], event["loss"], event["nonfinite"]) for event in told] == [(7, None, ["loss"])]
    assert world.catalog.all()[0].run.step == 7
    lock.release()
    world.scanner.poll_training()
    assert world.catalog.all()[0].run.status == "idle"


def test_a_foreign_run_without_checkpoints_is_none(world: Any, tmp_path: Path) -> None:
    import torch

    base = tmp_path / "foreign"
    (base / "a").mkdir(parents=True)
    torch.save({"w": torch.zeros(2), "step": 3}, base / "a" / "model.pt")
    watch(world, base)
    world.scanner.full()
    assert paths(world) == ["a"]
    (base / "a" / "model.pt").unlink()
    world.scanner.full()
    assert paths(world) == []


def test_state_json_names_what_is_not_finite() -> None:
    shown = state_json({"at": 2.0, "global_step": 3, "loss": "Infinity", "metrics": {"acc": "NaN", "f1": 0.5}})
    assert shown["metrics"] == {"acc": None, "f1": 0.5}
    assert sorted(shown["nonfinite"]) == ["acc", "loss"]


def test_a_look_that_is_stopped_marks_nothing_gone(world: Any, runs: Any) -> None:
    for name in ("exp1", "exp2"):
        runs.run(name, checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    shutil.rmtree(runs.base / "exp1")
    world.scanner.stop()
    world.scanner.full()
    assert paths(world) == ["exp1", "exp2"]


def test_a_run_that_is_renamed_below_its_root_stays_known(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    known = world.catalog.at(str(directory)).run.id
    moved = directory.rename(directory.with_name("exp2"))
    world.scanner.dirty({str(directory): True, str(moved): True})
    assert [(view.run.id, view.run.path) for view in world.catalog.all()] == [(known, str(moved))]
    assert world.catalog.at(str(directory)) is None
