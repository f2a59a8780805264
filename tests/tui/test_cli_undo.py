"""`ckpt undo`: which acts there are, and one of them taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def acts(runs: Any, ckpt: Any, daemon: Any, eventually: Any) -> tuple[Path, list[dict[str, Any]]]:
    """A run that the daemon pruned after somebody pinned a checkpoint of it, and what can be taken back."""
    directory: Path = runs.run("exp1", policy={"keep_last": 2})
    for number in range(1, 3):
        runs.checkpoint(directory, step=number * 10)
    eventually(lambda: ckpt("pin", "exp1@step:20", "--json").code == 0)
    runs.checkpoint(directory, step=30)
    runs.checkpoint(directory, step=40)
    eventually(lambda: not (directory / "checkpoints" / "step-000010.pt").exists())
    return directory, eventually(lambda: len(found := listed(ckpt)) > 1 and found)


def listed(ckpt: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ckpt("undo", "--list", "--json").json["acts"]
    return found


def test_the_acts_are_listed_and_one_is_taken_back(acts: tuple[Path, list[dict[str, Any]]], ckpt: Any) -> None:
    directory, known = acts
    assert [(act["kind"], act["by"]) for act in known] == [("remove", "daemon"), ("pin", "you")]
    table = ckpt("undo", "--list").out
    assert "the daemon" in table and "pin on exp1/step-000020.pt" in table and known[0]["id"] in table
    # What a person did goes before what happened by itself.
    asked = ckpt("undo", answer="n")
    assert asked.code == 1 and "take back pin on exp1" in asked.err and "by you" in asked.err
    assert "`ckpt undo --list` shows 1 more" in asked.err
    assert "step-000010.pt" in ckpt("undo", known[0]["id"], "--yes").out
    assert (directory / "checkpoints" / "step-000010.pt").exists()
    assert ckpt("show", "exp1@step:20", "--json").json["checkpoint"]["pinned"] is True
    assert [act["kind"] for act in listed(ckpt)] == ["pin"]
    assert ckpt("undo", known[0]["id"], "--yes").code == 2
    assert "taken back: pin" in ckpt("undo", "exp1", "--yes").out
    assert ckpt("show", "exp1@step:20", "--json").json["checkpoint"]["pinned"] is False


def test_what_names_no_act_is_told(acts: tuple[Path, list[dict[str, Any]]], ckpt: Any) -> None:
    odd = ckpt("undo", "nosuch", "--yes", "--json")
    assert odd.code == 2 and "no act" in odd.error["message"] and "--list" in odd.error["hint"]
    assert len(listed(ckpt)) == len(acts[1])


def test_of_marks_that_say_the_same_thing_the_last_is_taken_back_first(
    runs: Any, ckpt: Any, daemon: Any, eventually: Any
) -> None:
    runs.run("exp1", checkpoints=2)
    eventually(lambda: ckpt("tag", "add", "exp1@step:10", "paper").code == 0)
    eventually(lambda: ckpt("tag", "add", "exp1@step:20", "paper").code == 0)
    assert ckpt("note", "exp1@step:10", "good").code == 0
    assert [act["text"] for act in listed(ckpt)] == ["note on exp1/step-000010.pt", "tag paper on exp1/step-000020.pt"]
    tag = listed(ckpt)[1]
    ckpt("undo", tag["id"], "--yes")
    assert ckpt("show", "exp1@paper", "--json").json["checkpoint"]["step"] == 10
    assert len(listed(ckpt)) == 2
