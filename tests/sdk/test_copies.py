"""Restore and fork: whole or nothing, nothing overwritten, lineage told on both sides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ckpt import copies, scan
from ckpt.exceptions import CorruptError, IncompleteError, OperationError, UsageError
from ckpt.files import read_json


def files_of(view: scan.RunView, index: int = 0) -> list[Path]:
    return [Path(name) for name in view.checkpoints[index].files]


def test_restore_into_a_directory_and_to_a_name(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1))
    source = Path(view.checkpoints[0].path)
    done: list[int] = []
    made = copies.restore_checkpoint(files_of(view), tmp_path / "out", progress=done.append)
    assert {p.parent for p in made} == {tmp_path / "out"}
    (tmp_path / "there").mkdir()
    made = copies.restore_checkpoint(files_of(view), tmp_path / "there")
    assert sorted(p.name for p in made) == ["step-000010.json", "step-000010.pt"]
    assert made[0].read_bytes() == source.read_bytes()
    assert made[0].stat().st_mtime_ns == source.stat().st_mtime_ns
    assert made[0].stat().st_nlink == 1 and made[0].stat().st_ino != source.stat().st_ino
    assert sum(done) >= source.stat().st_size
    named = copies.restore_checkpoint(files_of(view), tmp_path / "mine.pt")
    assert sorted(p.name for p in named) == ["mine.json", "mine.pt"]


def test_restore_overwrites_nothing(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1))
    (tmp_path / "step-000010.json").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        copies.restore_checkpoint(files_of(view), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["runs", "step-000010.json"]


def test_a_restore_that_fails_leaves_nothing(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1))
    main, marker = files_of(view)
    marker.unlink()
    with pytest.raises(OperationError):
        copies.restore_checkpoint([main, marker], tmp_path / "out.pt")
    assert os.listdir(tmp_path) == ["runs"]


def test_restore_of_a_whole_run(runs, tmp_path: Path) -> None:
    directory = runs.run(checkpoints=2)
    (directory / "checkpoints" / "latest.pt").symlink_to("step-000020.pt")
    (directory / ".trash").mkdir()
    (directory / ".trash" / "x").write_text("not wanted")
    made = copies.restore_run(directory, tmp_path / "back" / "exp1")
    assert not (made / ".trash").exists()
    assert os.readlink(made / "checkpoints" / "latest.pt") == "step-000020.pt"
    assert [c.id for c in scan.read_run(made).checkpoints] == [c.id for c in scan.read_run(directory).checkpoints]
    with pytest.raises(UsageError, match="exists already"):
        copies.restore_run(directory, made)
    with pytest.raises(UsageError, match="into itself"):
        copies.restore_run(directory, directory / "inside")
    assert copies.tree_bytes(directory) == copies.tree_bytes(made)


def test_fork_starts_with_lineage_and_without_the_parents_best(runs) -> None:
    directory = runs.run(checkpoints=3, config={"lr": 0.1}, policy={"keep_last": 1})
    parent = scan.read_run(directory)
    start = parent.checkpoints[1]
    made = copies.fork(start, parent.run, directory.parent / "child")
    child = scan.read_run(made)
    assert child.run.parent is not None
    assert (child.run.parent.run, child.run.parent.checkpoint) == (parent.run.id, start.id)
    assert child.run.id != parent.run.id and child.run.config == {"lr": 0.1}
    assert child.run.best is None and child.run.latest == child.checkpoints[0].id
    assert child.checkpoints[0].label == "fork" and child.checkpoints[0].step == 20
    copied = torch.load(child.checkpoints[0].path, weights_only=True)
    assert copied["global_step"] == 20
    after = scan.read_run(directory)
    held = {c.id: c.held_by for c in after.checkpoints}
    assert held[start.id] == ("parent of child",)
    verdict = after.verdict(start.id)
    assert verdict is not None and verdict.action == "keep"


def test_fork_refuses_what_cannot_be_a_start(runs, tmp_path: Path) -> None:
    directory = runs.run(checkpoints=2)
    view = scan.read_run(directory)
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        copies.fork(view.checkpoints[0], view.run, tmp_path / "taken")
    Path(view.checkpoints[0].path).write_bytes(b"damaged")
    runs.checkpoint(directory, step=99, commit=False)
    states = {c.state: c for c in scan.read_run(directory).checkpoints}
    with pytest.raises(CorruptError):
        copies.fork(states["corrupt"], view.run, tmp_path / "x")
    with pytest.raises(IncompleteError):
        copies.fork(states["incomplete"], view.run, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_fork_whose_source_changes_meanwhile_is_taken_back(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1))
    torch.save({"other": 1}, view.checkpoints[0].path)
    with pytest.raises(CorruptError, match="changed while"):
        copies.fork(view.checkpoints[0], view.run, tmp_path / "child")
    assert not (tmp_path / "child").exists()


def test_a_foreign_torch_file_can_be_forked(tmp_path: Path) -> None:
    place = tmp_path / "foreign"
    place.mkdir()
    torch.save({"global_step": 7, "model": {"w": torch.ones(2)}}, place / "ckpt.pt")
    view = scan.read_run(place)
    made = copies.fork(view.checkpoints[0], view.run, tmp_path / "mine")
    child = scan.read_run(made)
    assert child.run.own and child.checkpoints[0].step == 7
    assert read_json(made / "run.json")["parent"]["path"] == str(place / "ckpt.pt")
    assert os.listdir(place) == ["ckpt.pt"]


def test_the_manifest_has_no_other_fields() -> None:
    with pytest.raises(UsageError, match="colour"):
        copies.new_manifest("x", colour="red")
