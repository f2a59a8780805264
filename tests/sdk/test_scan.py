"""Runs read from disk: states, identity, marks, lineage, curves, and what must not be followed."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch

from ckpt import marks, scan
from ckpt.exceptions import AddressError
from ckpt.files import FileLock, append_json, read_json, write_json
from ckpt.paths import RunPaths
from ckpt.records import Checkpoint
from ckpt.runs.forking import fork


def by_name(view: scan.RunView) -> dict[str, Checkpoint]:
    return {os.path.basename(c.path): c for c in view.checkpoints}


def test_an_own_run_newest_first_with_moving_tags(runs) -> None:
    view = scan.read_run(runs.run(checkpoints=3))
    assert [c.step for c in view.checkpoints] == [30, 20, 10]
    assert view.run.own and view.run.checkpoints == 3
    assert view.run.latest == view.checkpoints[0].id
    assert view.run.best == view.checkpoints[0].id  # loss falls
    assert {"latest", "best"} <= set(view.checkpoints[0].tags)
    assert all(c.state == "complete" for c in view.checkpoints)


def test_whole_epochs_are_shown_as_whole_numbers(runs) -> None:
    directory = runs.run(checkpoints=1)
    runs.checkpoint(directory, step=20, epoch=1.5)
    half, whole = scan.run_view_to_json(scan.read_run(directory))["checkpoints"]
    assert (repr(whole["epoch"]), repr(half["epoch"])) == ("1", "1.5")


def test_a_run_that_emits_no_states_is_as_far_as_its_newest_save(runs) -> None:
    directory = runs.run(checkpoints=2)
    view = scan.read_run(directory)
    assert (view.run.step, view.run.epoch, view.run.loss) == (20, 2, 0.8)
    child = fork(view.checkpoints[0], view.run, directory.parent / "fork")
    assert scan.read_run(child).run.step is None
    (directory / "states.jsonl").write_text('{"global_step":30,"epoch":3,"loss":0.5,"metrics":{}}\n')
    assert scan.read_run(directory).run.step == 30


def test_order_is_by_save_and_not_by_step(runs) -> None:
    directory = runs.run(checkpoints=2)
    runs.checkpoint(directory, step=5, loss=0.95)
    assert [c.step for c in scan.read_run(directory).checkpoints] == [5, 20, 10]


def test_a_file_without_marker_is_writing_only_while_somebody_trains(runs) -> None:
    directory = runs.run(checkpoints=1)
    runs.checkpoint(directory, step=20, commit=False)
    assert by_name(scan.read_run(directory))["step-000020.pt"].state == "incomplete"
    lock = FileLock(RunPaths(directory).lock)
    lock.acquire({"pid": os.getpid()})
    try:
        view = scan.read_run(directory)
    finally:
        lock.release()
    assert by_name(view)["step-000020.pt"].state == "writing"
    assert view.run.status == "training"
    assert view.run.latest == by_name(view)["step-000010.pt"].id


@pytest.mark.parametrize("damage", ["truncate", "flip", "grow", "empty"])
def test_a_file_that_is_not_what_was_saved_is_corrupt(runs, damage: str) -> None:
    directory = runs.run(checkpoints=2)
    path = directory / "checkpoints" / "step-000020.pt"
    data = path.read_bytes()
    changed = {
        "truncate": data[:-50],
        "flip": data[:-30] + bytes([data[-30] ^ 0xFF]) + data[-29:],
        "grow": data + b"x",
        "empty": b"",
    }[damage]
    path.write_bytes(changed)
    view = scan.read_run(directory)
    damaged = by_name(view)["step-000020.pt"]
    assert damaged.state == "corrupt" and damaged.problems
    assert view.run.latest == by_name(view)["step-000010.pt"].id
    verdict = view.verdict(damaged.id)
    assert verdict is not None and verdict.action == "skip"


def test_rewriting_in_place_makes_another_checkpoint_and_tells_of_a_lost_pin(runs) -> None:
    directory = runs.run(checkpoints=1)
    old = scan.read_run(directory).checkpoints[0]
    marks.append(RunPaths(directory).marks, "pin", old.id, file="step-000010.pt")
    torch.save({"other": torch.ones(2)}, old.path)
    view = scan.read_run(directory)
    assert view.checkpoints[0].id != old.id
    assert not view.checkpoints[0].pinned
    assert any("rewritten" in problem for problem in view.run.problems)


def test_marks_are_applied_and_late_metrics_move_best(runs) -> None:
    directory = runs.run(checkpoints=3, monitor="val_acc", mode="max")
    first, newest = scan.read_run(directory).checkpoints[-1], scan.read_run(directory).checkpoints[0]
    path = RunPaths(directory).marks
    marks.append(path, "tag", first.id, name="paper")
    marks.append(path, "note", first.id, text="the one in the paper")
    marks.append(path, "metric", first.id, name="val_acc", value=0.9)
    marks.append(path, "metric", newest.id, name="val_acc", value="NaN")
    view = scan.read_run(directory)
    found = by_name(view)["step-000010.pt"]
    assert {"paper", "best"} <= set(found.tags) and found.note == "the one in the paper"
    assert view.run.best == found.id
    assert math.isnan(view.checkpoints[0].metrics["val_acc"])


def test_pointers_and_temporary_files_are_no_checkpoints(runs) -> None:
    directory = runs.run(checkpoints=1)
    place = directory / "checkpoints"
    (place / "latest.pt").symlink_to("step-000010.pt")
    os.link(place / "step-000010.pt", place / "best.pt")
    (place / f".step-000020.pt.{os.getpid()}-0badcafe.tmp").write_bytes(b"half")
    assert len(scan.read_run(directory).checkpoints) == 1


def test_statuses(runs) -> None:
    attempts = [{"started": 1.0}]
    cases = {
        "idle": {},
        "failed": {"attempts": attempts},
        "finished": {"attempts": attempts, "ending": "finished"},
    }
    for status, fields in cases.items():
        assert scan.read_run(runs.run(status, **fields)).run.status == status
    broken = runs.run("broken", attempts=attempts, ending="failed")
    assert scan.read_run(broken).run.status == "failed"


def test_a_damaged_manifest_is_a_problem_and_not_an_error(runs) -> None:
    directory = runs.run(checkpoints=1)
    (directory / "run.json").write_text("{ not json")
    view = scan.read_run(directory)
    assert view.run.own and view.run.problems
    assert len(view.checkpoints) == 1
    verdict = view.verdict(view.checkpoints[0].id)
    assert verdict is not None and verdict.action != "remove"


def test_an_unusable_policy_keeps_everything(runs) -> None:
    directory = runs.run(checkpoints=4, policy={"keep_lats": 1})
    view = scan.read_run(directory)
    assert not view.plan.remove
    assert any("keep_last" in problem for problem in view.run.problems)


def test_the_cache_reads_only_what_changed(runs, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckpt.scan import cache as cache_module

    directory = runs.run(checkpoints=3)
    calls: list[str] = []
    real = cache_module.formats.inspect
    monkeypatch.setattr(cache_module.formats, "inspect", lambda path: calls.append(str(path)) or real(path))
    cache = scan.Cache()
    first = scan.read_run(directory, cache=cache)
    assert len(calls) == 3
    assert scan.read_run(directory, cache=cache).checkpoints == first.checkpoints and len(calls) == 3
    runs.checkpoint(directory, step=40, loss=0.1)
    calls.clear()
    scan.read_run(directory, cache=cache)
    assert [os.path.basename(c) for c in calls] == ["step-000040.pt"]


def test_find_runs_knows_own_and_foreign_and_excludes(runs, tmp_path: Path) -> None:
    own = runs.run(checkpoints=1)
    root = own.parent
    for place in ("nano", "model/checkpoints", ".git/objects", "wandb/run", "skip-me/x"):
        (root / place).mkdir(parents=True)
        torch.save({"step": 1}, root / place / "ckpt.pt")
    (root / "notes").mkdir()
    (root / "notes" / "readme.txt").write_text("no checkpoint")
    os.symlink(own, root / "link-to-own")
    found = [os.path.relpath(p, root) for p in scan.find_runs(root, exclude=["skip-*"])]
    assert found == ["exp1", "model", "nano"]


def test_links_are_names_of_one_checkpoint(tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    torch.save({"global_step": 5, "model": {"w": torch.ones(2)}}, place / "a.pt")
    os.link(place / "a.pt", place / "b.pt")
    os.symlink("a.pt", place / "last.pt")
    os.symlink("gone.pt", place / "dangling.pt")
    view = scan.read_run(place)
    assert len(view.checkpoints) == 1
    assert len(view.checkpoints[0].files) == 3
    assert any("dangling.pt" in p for p in view.run.problems)


def test_foreign_files_are_observed_only(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    place = tmp_path / "run"
    place.mkdir()
    for step in (1, 2, 3):
        torch.save({"global_step": step, "loss": 1.0 / step, "model": {"w": torch.ones(2)}}, place / f"s{step}.pt")
    save_file({"w": torch.ones(3)}, place / "w.safetensors")
    view = scan.read_run(place)
    assert not view.run.own and len(view.checkpoints) == 4
    assert {c.framework for c in view.checkpoints} == {"torch", "safetensors"}
    assert not view.plan.remove
    steps = {os.path.basename(c.path): c.step for c in view.checkpoints}
    assert steps["s3.pt"] == 3


def test_run_of_knows_files_directories_and_markers(runs, tmp_path: Path) -> None:
    directory = runs.run(checkpoints=1)
    file = directory / "checkpoints" / "step-000010.pt"
    (directory / "checkpoints" / "latest.pt").symlink_to("step-000010.pt")
    assert scan.run_of(file) == (directory, file)
    assert scan.run_of(file.with_suffix(".json")) == (directory, file)
    assert scan.run_of(directory / "checkpoints" / "latest.pt") == (directory, file)
    assert scan.run_of(directory) == (directory, None)
    assert scan.run_of(directory / "checkpoints") == (directory, None)
    with pytest.raises(AddressError, match="holds no run"):
        scan.run_of(tmp_path)
    with pytest.raises(AddressError, match="there is no"):
        scan.run_of(tmp_path / "nothing")


def test_curves_leave_out_an_abandoned_branch(runs) -> None:
    directory = runs.run()
    for attempt, steps in ((1, range(1, 7)), (2, range(4, 9))):
        for step in steps:
            append_json(
                RunPaths(directory).states,
                {"attempt": attempt, "global_step": step, "loss": step * attempt, "metrics": {"acc": "NaN"}},
                sync=False,
            )
    with open(RunPaths(directory).states, "ab") as stream:
        stream.write(b'{"torn')
    curve = scan.curves(directory)
    assert [step for step, _ in curve["loss"]] == list(range(1, 9))
    assert curve["loss"][3] == (4, 8.0)
    assert math.isnan(curve["acc"][0][1])


def test_curves_are_thinned_and_keep_the_last_point(runs) -> None:
    directory = runs.run()
    with open(RunPaths(directory).states, "wb") as stream:
        for step in range(10_001):
            stream.write(b'{"global_step":%d,"loss":1.5}\n' % step)
    curve = scan.curves(directory, points=100)["loss"]
    assert len(curve) <= 102 and curve[0][0] == 0 and curve[-1][0] == 10_000


def test_names_that_are_not_utf8_survive(runs, tmp_path: Path) -> None:
    name = os.fsdecode(b"run-\xff")
    directory = runs.run(name, checkpoints=1)
    view = scan.read_run(directory)
    shown = scan.run_view_to_json(view)
    json.dumps(shown).encode("utf-8")
    assert "path_b64" in shown["run"] and "\\xff" in shown["run"]["name"]


def test_json_has_null_for_what_is_not_finite(runs) -> None:
    directory = runs.run()
    runs.checkpoint(directory, step=1, loss=0.5, metrics={"a": 1.0})
    marker = directory / "checkpoints" / "step-000001.json"
    raw = read_json(marker)
    raw.update(loss="Infinity", metrics={"a": "NaN", "b": "-Infinity", "c": 2})
    write_json(marker, raw)
    shown = scan.run_view_to_json(scan.read_run(directory))["checkpoints"][0]
    assert shown["metrics"] == {"a": None, "b": None, "c": 2} and shown["loss"] is None
    assert sorted(shown["nonfinite"]) == ["a", "b", "loss"]


def test_a_marker_without_file_is_told(runs) -> None:
    directory = runs.run(checkpoints=2)
    (directory / "checkpoints" / "step-000010.pt").unlink()
    view = scan.read_run(directory)
    assert [c.step for c in view.checkpoints] == [20]
    assert any("step-000010.json" in p for p in view.run.problems)


def test_a_copied_run_reads_the_same(runs, tmp_path: Path) -> None:
    directory = runs.run(checkpoints=2)
    shutil.copytree(directory, tmp_path / "copy")
    assert [c.id for c in scan.read_run(tmp_path / "copy").checkpoints] == [
        c.id for c in scan.read_run(directory).checkpoints
    ]


def test_marks_that_cannot_be_read_hide_no_run_and_keep_everything(runs) -> None:
    directory = runs.run(checkpoints=3, policy={"keep_last": 1})
    assert scan.read_run(directory).plan.remove
    (directory / "marks.jsonl").mkdir()
    view = scan.read_run(directory)
    assert not view.plan.remove and len(view.checkpoints) == 3
    assert view.run.problems == ("marks.jsonl cannot be read: not a regular file, so everything is kept",)


def test_pipes_in_a_run_are_not_waited_for(runs) -> None:
    directory = runs.run(checkpoints=2)
    marker = directory / "checkpoints" / "step-000010.json"
    marker.unlink()
    for pipe in (marker, directory / "states.jsonl", directory / "marks.jsonl", directory / "run.lock"):
        os.mkfifo(pipe)
    assert {name: c.state for name, c in by_name(scan.read_run(directory)).items()} == {
        "step-000010.pt": "corrupt",
        "step-000020.pt": "complete",
    }
