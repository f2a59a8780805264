from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckpt.paths import RunPaths
from ckptd.looking.states import state_json


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


def test_a_root_whose_last_run_was_seen_to_go_is_simply_empty(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    shutil.rmtree(directory)
    world.scanner.dirty({str(directory): True, str(runs.base): True})
    world.scanner.full()
    assert paths(world) == []
    assert world.roots.all()[0].state == "ok"


def test_a_root_that_became_empty_unseen_marks_nothing_gone_until_it_is_accepted(world: Any, runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    shutil.rmtree(runs.base / "exp1")
    world.scanner.full()
    assert paths(world) == ["exp1"]
    assert world.roots.all()[0].state == "degraded"
    assert "ckpt watch add" in world.roots.all()[0].problem
    world.post("/v1/roots", path=str(runs.base))
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


def test_after_a_restart_only_what_changed_is_read(make_world: Callable[[], Any], runs: Any, tmp_path: Path) -> None:
    import torch

    for name in ("exp1", "exp2", "exp3"):
        runs.run(name, checkpoints=2)
    (runs.base / "theirs").mkdir()
    torch.save({"w": torch.zeros(2)}, runs.base / "theirs" / "model.pt")
    old = time.time() - 10_000
    os.utime(runs.base / "theirs" / "model.pt", (old, old))
    first = make_world()
    watch(first, runs.base)
    first.scanner.full()
    first.catalog.flush()
    second = make_world()
    assert second.scanner.full() == set()
    assert paths(second) == ["exp1", "exp2", "exp3", "theirs"]
    runs.checkpoint(runs.base / "exp2", step=99)
    third = make_world()
    assert third.scanner.full() == {third.catalog.at(str(runs.base / "exp2")).run.id}


def test_every_run_has_its_turn_to_be_read_whatever_its_files_say(world: Any, runs: Any) -> None:
    from ckptd.looking.reader import TURNS

    for number in range(5):
        runs.run(f"exp{number}", checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    before = [world.scanner.full() for _ in range(TURNS - 1)]
    assert before == [set()] * (TURNS - 1)
    looks = [world.scanner.full() for _ in range(TURNS)]
    read = [run for look in looks for run in look]
    assert sorted(read) == sorted(view.run.id for view in world.catalog.all())


def test_a_dirty_subtree_is_one_walk_and_the_rest_is_not_looked_at(
    world: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ckpt import scan

    for name in ("a/exp1", "a/b/exp2", "a/c/exp3", "d/exp4"):
        runs.run(name, checkpoints=1)
    watch(world, runs.base)
    walked = []
    real = scan.survey

    def survey(root: Path, **options: Any) -> Any:
        walked.append((str(options.get("below")), done := real(root, **options)))
        return done

    monkeypatch.setattr(scan, "survey", survey)
    base = str(runs.base)
    read = world.scanner.dirty({f"{base}/a/b": True, f"{base}/a": True, f"{base}/a/c": True, f"{base}/a-side": True})
    assert [below for below, _ in walked] == [f"{base}/a", f"{base}/a-side"]
    assert walked[0][1].directories == 6
    assert {world.catalog.get(run).run.name for run in read} == {"exp1", "exp2", "exp3"}
    assert world.scanner.dirty({f"{base}/a": True}) == set()
    shutil.rmtree(runs.base / "a" / "b")
    world.scanner.dirty({f"{base}/a/b": True})
    assert paths(world) == ["exp1", "exp3"]
    (runs.base / "a").rename(runs.base / "z")
    world.scanner.dirty({f"{base}/a": True, f"{base}/z": True})
    assert sorted(view.run.path for view in world.catalog.all()) == [f"{base}/z/c/exp3", f"{base}/z/exp1"]


def test_many_new_directories_are_found_by_the_one_above_them(world: Any, runs: Any) -> None:
    watch(world, runs.base)
    world.scanner.full()
    for number in range(300):
        place = runs.base / "new" / f"g{number % 20}" / f"r{number}"
        place.mkdir(parents=True)
        (place / "model.pt").write_bytes(b"x")
    read = world.scanner.dirty({str(runs.base / "new"): True})
    assert len(read) == len(world.catalog.all()) == 300


def test_a_foreign_file_is_writing_until_it_is_whole_or_quiet(world: Any, tmp_path: Path) -> None:
    import torch

    base = tmp_path / "foreign" / "a"
    base.mkdir(parents=True)
    torch.save({"w": torch.zeros(2000), "step": 3}, base / "whole.pt")
    data = (base / "whole.pt").read_bytes()
    file = base / "half.pt"
    file.write_bytes(data[:3000])
    watch(world, base.parent)

    def state() -> tuple[str, bool]:
        view = world.catalog.at(str(base))
        found = {os.path.basename(c.path): c for c in view.checkpoints}
        assert found["whole.pt"].state == "complete"
        return found["half.pt"].state, bool(found["half.pt"].problems)

    world.scanner.full()
    assert state() == ("writing", False)
    assert world.scanner.unsettled() == []
    with file.open("ab") as stream:
        stream.write(data[3000:4000])
    assert world.scanner.unsettled() == [base]
    world.scanner.read(base)
    assert state() == ("writing", False)
    quiet = time.time() - 600
    os.utime(file, (quiet, quiet))
    assert world.scanner.unsettled() == [base]
    world.scanner.read(base)
    assert state() == ("incomplete", True)
    assert world.scanner.unsettled() == []
    # The writer was only slow.
    with file.open("ab") as stream:
        stream.write(data[4000:])
    world.scanner.full()
    assert state() == ("complete", False)
    kinds = [kind for kind in world.kinds() if kind.startswith("checkpoint.")]
    assert kinds == ["checkpoint.writing", "checkpoint.incomplete", "checkpoint.complete"]


def test_a_foreign_run_is_as_old_as_its_oldest_checkpoint(world: Any, tmp_path: Path) -> None:
    import torch

    base = tmp_path / "foreign" / "a"
    base.mkdir(parents=True)
    for number in (1, 2):
        torch.save({"w": torch.full((2,), float(number))}, base / f"s{number}.pt")
        os.utime(base / f"s{number}.pt", (1000.0 * number, 1000.0 * number))
    watch(world, base.parent)
    world.scanner.full()
    run = world.catalog.at(str(base)).run
    assert (run.created_at, run.updated_at) == (1000.0, 2000.0)


def test_an_announced_run_is_followed_when_it_gets_another_name(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    notes = [world.state.announced / "x.json", world.state.announced / "twice.json"]
    notes[0].parent.mkdir()
    for note in notes:
        files.write_json(note, {"path": str(directory), "id": "x"})
    assert len(world.scanner.full()) == 1
    run = world.catalog.at(str(directory)).run.id
    moved = directory.rename(runs.base / "exp2")
    world.scanner.full()
    assert [(view.run.id, view.run.path) for view in world.catalog.all()] == [(run, str(moved))]
    assert [files.read_json(note)["path"] for note in notes] == [str(moved)] * 2
    shutil.rmtree(moved)
    world.scanner.full()
    assert (paths(world), [note.exists() for note in notes]) == ([], [False, False])


def test_a_run_that_is_left_out_from_now_on_is_not_known_any_more(world: Any, runs: Any) -> None:
    runs.run("keep/exp1", checkpoints=1)
    runs.run("skip/exp2", checkpoints=1)
    world.post("/v1/roots", path=str(runs.base))
    world.post("/v1/roots", path=str(runs.base), exclude=["skip"])
    assert paths(world) == ["exp1"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE])
def test_a_directory_that_fails_to_be_listed_is_unknown_and_not_gone(
    world: Any, runs: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    runs.run("group/exp1", checkpoints=1)
    runs.run("exp2", checkpoints=1)
    watch(world, runs.base)
    world.scanner.full()
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).startswith(str(runs.base / "group")):
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        world.scanner.full()
        world.scanner.dirty({str(runs.base / "group"): True, str(runs.base / "group" / "exp1"): True})
    root = world.roots.all()[0]
    assert paths(world) == ["exp1", "exp2"]
    assert (root.state, root.unreadable) == ("ok", (str(runs.base / "group"), str(runs.base / "group" / "exp1")))
    world.scanner.full()
    assert root.unreadable == ()


def test_a_foreign_file_that_cannot_be_read_is_still_there_and_stays_marked(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from ckpt.scan import cache

    base = tmp_path / "foreign" / "a"
    base.mkdir(parents=True)
    for name in ("one.pt", "two.pt"):
        torch.save({"w": torch.zeros(len(name))}, base / name)
    watch(world, base.parent)
    world.scanner.full()
    world.post("/v1/marks", ref=str(base / "one.pt"), kind="pin")
    before = {c.path: c for c in world.catalog.at(str(base)).checkpoints}
    real = cache.formats.inspect

    def inspect(path: str) -> Any:
        if os.path.exists(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(cache.formats, "inspect", inspect)
        for path in before:
            os.utime(path)
        world.scanner.full()
    view = world.catalog.at(str(base))
    now = {os.path.basename(c.path): c for c in view.checkpoints}
    assert {c.state for c in now.values()} == {"corrupt"}
    assert (now["one.pt"].pinned, now["one.pt"].id) == (True, before[str(base / "one.pt")].id)
    assert now["two.pt"].problems == ("cannot be read: Permission denied",)
    assert view.run.problems == ()
    for path in before:
        os.utime(path)
    world.scanner.full()
    assert {c.path: (c.id, c.state, c.pinned) for c in world.catalog.at(str(base)).checkpoints} == {
        path: (c.id, "complete", c.pinned) for path, c in before.items()
    }


def test_a_change_in_a_part_that_is_a_run_too_reaches_the_run_above_it(world: Any, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    part = tmp_path / "runs" / "a" / "checkpoints"
    (part / "checkpoints").mkdir(parents=True)
    for file in (part / "x.safetensors", part / "checkpoints" / "y.safetensors"):
        save_file({"w": np.zeros(3, np.float32)}, file)
    watch(world, tmp_path / "runs")
    world.scanner.full()
    assert world.catalog.at(str(part.parent)) is not None
    (part / "x.safetensors").unlink()
    world.scanner.dirty({str(part): True})
    assert world.catalog.at(str(part.parent)) is None
