"""`ckpt tag`, `pin`, `unpin`, `note`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.records import Checkpoint
from ckpt_tui.protecting import is_overwritten_in_place, numbered_twin


def row(ckpt: Any, address: object) -> dict[str, Any]:
    found: dict[str, Any] = ckpt("show", address, "--json").json["checkpoint"]
    return found


def test_marks_by_path_need_no_daemon(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    address = f"{directory}@~1"
    assert "is tagged paper" in ckpt("tag", "add", address, "paper").out
    assert "is pinned" in ckpt("pin", f"{directory}@paper").out
    assert ckpt("note", address, "the one in table 2").code == 0
    found = row(ckpt, address)
    assert found["tags"] == ["paper"] and found["pinned"] is True and found["note"] == "the one in table 2"
    listed = ckpt("ls", directory).out
    assert "paper" in listed and " pin" in listed
    for command in (["tag", "rm", address, "paper"], ["unpin", address], ["note", address, ""]):
        assert ckpt(*command).code == 0
    found = row(ckpt, address)
    assert found["tags"] == [] and found["pinned"] is False and found["note"] is None


def test_a_pin_changes_the_verdict(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=3, policy={"keep_last": 1})
    assert row(ckpt, f"{directory}@step:10")["verdict"]["action"] == "remove"
    answer = ckpt("pin", f"{directory}@step:10", "--json").json
    assert answer["checkpoint"]["verdict"]["action"] == "keep" and answer["checkpoint"]["pinned"] is True


@pytest.mark.parametrize("name", ["best", "latest", "best-2", "a:b", "", "~x", "with space"])
def test_tags_that_cannot_be(runs: Any, ckpt: Any, name: str) -> None:
    directory = runs.run("exp1", checkpoints=1)
    answer = ckpt("tag", "add", directory, name, "--json")
    assert answer.code == 2 and answer.error["hint"]
    assert not (directory / "marks.jsonl").exists()


def test_a_tag_that_is_not_there(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    ckpt("tag", "add", directory, "paper")
    answer = ckpt("tag", "rm", directory, "papier")
    assert answer.code == 2 and "it has:" in answer.err and "paper" in answer.err


def test_names_of_runs_need_the_daemon_to_change_anything(ckpt: Any) -> None:
    answer = ckpt("pin", "exp1@best", "--json")
    assert answer.code == 4 and answer.error["kind"] == "NoDaemonError" and "ckptd start" in answer.err


def test_marks_through_the_daemon(runs: Any, ckpt: Any, daemon: Any, eventually: Any) -> None:
    directory: Path = runs.run("exp1", checkpoints=2)
    eventually(lambda: "exp1" in ckpt("ls").out)
    eventually(lambda: ckpt("ls", "exp1", "--json").json["run"]["checkpoints"] == 2)
    assert ckpt("tag", "add", "exp1@~1", "paper", "--json").json["checkpoint"]["tags"] == ["paper"]
    assert ckpt("show", "exp1@paper", "--json").json["checkpoint"]["step"] == 10
    assert ckpt("show", f"{directory}@paper", "--json").json["checkpoint"]["step"] == 10
    # Named by its path, the daemon still hears of it, and can take it back.
    assert ckpt("pin", f"{directory}@paper", "--json").json["checkpoint"]["pinned"] is True
    assert "pin" in ckpt("undo", "--yes").out
    assert ckpt("show", "exp1@paper", "--json").json["checkpoint"]["pinned"] is False
    answer = ckpt("tag", "add", "exp@best", "x", "--json")
    assert answer.code == 2 and "exp1" in (answer.error["hint"] or "")


def test_a_mark_on_another_tools_checkpoint_says_what_it_cannot_do(
    tmp_path: Path, ckpt: Any, daemon: Any, eventually: Any
) -> None:
    directory = tmp_path / "runs" / "cnn"
    directory.mkdir(parents=True)
    for epoch in (1, 2):
        state = {"model": {"w": torch.ones(2)}, "epoch": epoch, "global_step": 10 * epoch}
        torch.save(state, directory / f"epoch_{epoch}.pt")
        torch.save(state, directory / "last.pt")
    eventually(lambda: "epoch_2.pt" in ckpt("ls", "cnn").out and "3 checkpoints" in ckpt("ls", "cnn").out)

    pinned = ckpt("pin", directory / "last.pt")
    assert pinned.code == 0 and "may still delete or overwrite" in pinned.err
    assert f"ckpt restore {directory}/last.pt DEST" in pinned.err
    assert "epoch_2.pt has the same step and epoch" in pinned.err
    tagged = ckpt("tag", "add", directory / "epoch_1.pt", "paper")
    assert tagged.err.count("another tool wrote") == 1 and "same step" not in tagged.err
    for command in (("pin", "-q"), ("pin", "--json"), ("unpin",), ("note", "x")):
        name, *rest = command
        assert "another tool" not in ckpt(name, directory / "last.pt", *rest).err
    assert "delete or overwrite" in " ".join(ckpt("pin", "--help").out.split())


def test_a_mark_on_an_own_checkpoint_promises_what_it_says(runs: Any, ckpt: Any) -> None:
    assert ckpt("pin", runs.run("exp1", checkpoints=1)).err == ""


@pytest.mark.parametrize(
    ("name", "moves"),
    [("last.pt", True), ("model_best.pth", True), ("BEST.ckpt", True), ("best-3.pt", False), ("lasting.pt", False)],
)
def test_names_that_are_written_over(name: str, moves: bool) -> None:
    assert is_overwritten_in_place(record("a", name)) is moves


def test_the_twin_of_a_checkpoint_that_is_written_over() -> None:
    last = record("a", "last.pt", step=5, epoch=1.0)
    other, twin = record("b", "e0.pt", step=5, epoch=0.0), record("c", "e1.pt", step=5, epoch=1.0)
    assert numbered_twin(last, [last, other, twin]) is twin
    assert numbered_twin(last, [last, other, twin.evolve(state="writing")]) is None
    assert numbered_twin(record("a", "last.pt"), [record("c", "e1.pt")]) is None


def record(id: str, name: str, **facts: Any) -> Checkpoint:
    return Checkpoint(id=id, run="r", path=f"/r/{name}", bytes=1, saved_at=1.0, state="complete", **facts)


def test_a_tag_without_add_is_told_what_is_meant(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    answer = ckpt("tag", f"{directory}@best", "paper")
    assert answer.code == 2 and f"ckpt tag add {directory}@best paper" in answer.err
