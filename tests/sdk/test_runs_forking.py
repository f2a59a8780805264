"""Fork: a run of its own, whole or nothing, lineage told on both sides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ckpt import scan
from ckpt.exceptions import CorruptError, IncompleteError, UsageError
from ckpt.files import read_json
from ckpt.runs.forking import fork
from ckpt.runs.manifest import new_manifest


def files_of(view: scan.RunView, index: int = 0) -> list[Path]:
    return [Path(name) for name in view.checkpoints[index].files]


def test_a_fork_has_the_files_of_a_run_and_a_name_that_one_can_have(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1, config={"lr": 0.5}))
    made = fork(view.checkpoints[0], view.run, tmp_path / "fork")
    assert (made / "config.yaml").read_text() == "lr: 0.5\n"
    with pytest.raises(UsageError, match="cannot be the name"):
        fork(view.checkpoints[0], view.run, tmp_path / ".hidden")
    assert not (tmp_path / ".hidden").exists()


def test_fork_starts_with_lineage_and_without_the_parents_best(runs) -> None:
    directory = runs.run(checkpoints=3, config={"lr": 0.1}, policy={"keep_last": 1})
    parent = scan.read_run(directory)
    start = parent.checkpoints[1]
    made = fork(start, parent.run, directory.parent / "child")
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
        fork(view.checkpoints[0], view.run, tmp_path / "taken")
    Path(view.checkpoints[0].path).write_bytes(b"damaged")
    runs.checkpoint(directory, step=99, commit=False)
    states = {c.state: c for c in scan.read_run(directory).checkpoints}
    with pytest.raises(CorruptError):
        fork(states["corrupt"], view.run, tmp_path / "x")
    with pytest.raises(IncompleteError):
        fork(states["incomplete"], view.run, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_fork_whose_source_changes_meanwhile_is_taken_back(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1))
    torch.save({"other": 1}, view.checkpoints[0].path)
    with pytest.raises(CorruptError, match="changed while"):
        fork(view.checkpoints[0], view.run, tmp_path / "child")
    assert not (tmp_path / "child").exists()


def test_a_foreign_torch_file_can_be_forked(tmp_path: Path) -> None:
    place = tmp_path / "foreign"
    place.mkdir()
    torch.save({"global_step": 7, "model": {"w": torch.ones(2)}}, place / "ckpt.pt")
    view = scan.read_run(place)
    made = fork(view.checkpoints[0], view.run, tmp_path / "mine")
    child = scan.read_run(made)
    assert child.run.own and child.checkpoints[0].step == 7
    assert read_json(made / "run.json")["parent"]["path"] == str(place / "ckpt.pt")
    assert os.listdir(place) == ["ckpt.pt"]


def test_the_manifest_has_no_other_fields() -> None:
    with pytest.raises(UsageError, match="colour"):
        new_manifest("x", colour="red")
