"""`ckpt restore` and `ckpt fork`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def test_a_checkpoint_is_copied_and_nothing_overwritten(runs: Any, ckpt: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=2)
    source = directory / "checkpoints" / "step-000020.pt"
    answer = ckpt("restore", f"{directory}@best", tmp_path / "out.pt")
    assert answer.code == 0 and str(tmp_path / "out.pt") in answer.out
    assert (tmp_path / "out.pt").read_bytes() == source.read_bytes()
    assert os.stat(tmp_path / "out.pt").st_ino != os.stat(source).st_ino
    (tmp_path / "out.pt").write_bytes(b"mine")
    again = ckpt("restore", f"{directory}@best", tmp_path / "out.pt", "--json")
    assert again.code == 2 and "exists already" in again.error["message"]
    assert (tmp_path / "out.pt").read_bytes() == b"mine"


def test_into_a_directory_under_its_own_name(runs: Any, ckpt: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=1)
    answer = ckpt("restore", directory / "checkpoints" / "step-000010.pt", f"{tmp_path}/new/", "--json").json
    assert str(tmp_path / "new" / "step-000010.pt") in [item["path"] for item in answer["restored"]]
    assert ckpt("restore", f"{directory}@latest", tmp_path / "x.pt", "-q").out.splitlines()[0] == str(tmp_path / "x.pt")


def test_answers_name_absolute_paths(runs: Any, ckpt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = runs.run("exp1", checkpoints=1)
    monkeypatch.chdir(tmp_path)
    answer = ckpt("restore", f"{directory}@latest", "x.pt", "--json").json
    assert [item["path"] for item in answer["restored"]] == [str(tmp_path / "x.pt"), str(tmp_path / "x.json")]


def test_a_bare_run_is_copied_whole(runs: Any, ckpt: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=2)
    assert ckpt("restore", directory, tmp_path / "copy").code == 0
    assert sorted(p.name for p in (tmp_path / "copy" / "checkpoints").iterdir()) == sorted(
        p.name for p in (directory / "checkpoints").iterdir()
    )
    assert ckpt("restore", directory, tmp_path / "copy").code == 2


def test_a_fork_of_an_own_run_lies_beside_it(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=2, config={"lr": 0.1})
    parent = ckpt("show", f"{directory}@best", "--json").json
    run = ckpt("fork", f"{directory}@best", "exp2", "--json").json["run"]
    assert run["path"] == str(runs.base / "exp2")
    assert run["parent"]["run"] == parent["run"]["id"] and run["parent"]["checkpoint"] == parent["checkpoint"]["id"]
    held = ckpt("show", f"{directory}@best", "--json").json["checkpoint"]["held_by"]
    assert any("exp2" in text for text in held)
    assert "FORKED FROM" in ckpt("ls", runs.base).out
    assert ckpt("fork", f"{directory}@best", "exp2").code == 2


def test_a_fork_elsewhere(runs: Any, ckpt: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=1)
    answer = ckpt("fork", directory, "exp2", "--at", tmp_path / "else", "-q")
    assert answer.out == f"{tmp_path}/else/exp2\n" and (tmp_path / "else" / "exp2" / "run.json").exists()


def test_a_fork_of_a_foreign_checkpoint_needs_a_place(tmp_path: Path, ckpt: Any) -> None:
    import torch

    (tmp_path / "theirs").mkdir()
    path = tmp_path / "theirs" / "epoch=3.pt"
    torch.save({"epoch": 3, "model": {"w": torch.zeros(2)}}, path)
    before = sorted(tmp_path.rglob("*"))
    answer = ckpt("fork", path, "mine", "--json")
    assert answer.code == 2 and "--at" in answer.error["message"]
    assert sorted(tmp_path.rglob("*")) == before
    assert ckpt("fork", path, "mine", "--at", tmp_path / "runs").code == 0
    assert (tmp_path / "runs" / "mine" / "run.json").exists()
    assert [p.name for p in (tmp_path / "theirs").iterdir()] == ["epoch=3.pt"]


@pytest.mark.parametrize("name", ["a/b", "..", "", "a@b", ".hidden"])
def test_names_that_no_run_can_have(runs: Any, ckpt: Any, name: str) -> None:
    directory = runs.run("exp1", checkpoints=1)
    assert ckpt("fork", directory, name).code == 2
    assert [p.name for p in runs.base.iterdir()] == ["exp1"]


def test_a_damaged_checkpoint_is_not_forked(runs: Any, ckpt: Any) -> None:
    path = runs.checkpoint(runs.run("exp1"), step=10)
    path.write_bytes(path.read_bytes()[:300])
    answer = ckpt("fork", path, "exp2")
    assert answer.code == 3 and not (runs.base / "exp2").exists()


def test_by_name_through_the_daemon(runs: Any, ckpt: Any, daemon: Any, eventually: Any, tmp_path: Path) -> None:
    runs.run("exp1", checkpoints=2)
    eventually(lambda: "exp1" in ckpt("ls").out and ckpt("ls", "exp1", "--json").json["run"]["checkpoints"] == 2)
    assert ckpt("restore", "exp1@best", tmp_path / "a.pt").code == 0
    assert ckpt("restore", "exp1", tmp_path / "copy").code == 0
    assert (tmp_path / "copy" / "run.json").exists()
    assert ckpt("fork", "exp1@step:10", "exp2").code == 0
    # A fork outside of all roots is known too, because the daemon is told.
    assert ckpt("fork", "exp1", "exp3", "--at", tmp_path / "outside").code == 0
    names = eventually(lambda: len(runs_of := {r["name"] for r in ckpt("ls", "--json").json["runs"]}) == 3 and runs_of)
    assert names == {"exp1", "exp2", "exp3"}


def test_a_directory_checkpoint_is_copied_whole(produced: Any, ckpt: Any, tmp_path: Path) -> None:
    directory = produced("transformers") / "best" / "checkpoint-6"
    assert ckpt("restore", directory, tmp_path / "mine").code == 0
    answer = ckpt("restore", directory, f"{tmp_path}/there/", "--json").json
    assert [item["path"] for item in answer["restored"]] == [str(tmp_path / "there" / "checkpoint-6")]
    for copy in (tmp_path / "mine", tmp_path / "there" / "checkpoint-6"):
        assert {p.name: p.read_bytes() for p in copy.iterdir()} == {p.name: p.read_bytes() for p in directory.iterdir()}
    again = ckpt("restore", directory, tmp_path / "there", "--json")
    assert again.code == 2 and "exists already" in again.error["message"]


def test_a_directory_checkpoint_cannot_be_forked_and_what_can_be_done_is_said(
    produced: Any, ckpt: Any, tmp_path: Path
) -> None:
    directory = produced("transformers") / "best" / "checkpoint-6"
    answer = ckpt("fork", directory, "mine", "--at", tmp_path, "--json")
    assert answer.code == 2 and "is a directory (transformers)" in answer.error["message"]
    assert f"ckpt restore {directory}" in answer.error["hint"] and list(tmp_path.iterdir()) == []


def test_a_run_needs_a_new_name_and_a_checkpoint_may_go_into_a_directory(runs: Any, ckpt: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=1)
    out = tmp_path / "out"
    out.mkdir()
    refused = ckpt("restore", directory, out)
    assert refused.code == 2 and f"ckpt restore {directory} {out}/exp1" in refused.err
    assert ckpt("restore", directory, out / "exp1").code == 0 and (out / "exp1" / "run.json").exists()
    assert ckpt("restore", f"{directory}@best", out).code == 0 and list(out.glob("*.pt"))
    told = " ".join(ckpt("restore", "--help").out.split())
    assert "for a checkpoint also a directory that exists" in told
