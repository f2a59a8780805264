"""What lies in the trash, by every name that people have for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt_tui.output import Paint
from ckpt_tui.render.trash import summary_lines


def two_gone(runs: Any, name: str) -> Path:
    """A run whose policy leaves steps 10 and 20 over."""
    directory: Path = runs.run(name, policy={"keep_last": 2})
    for number in range(1, 5):
        runs.checkpoint(directory, step=number * 10)
    return directory


def entries(ckpt: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ckpt("trash", "ls", "--json").json["entries"]
    return found


def names(directory: Path) -> set[str]:
    return {path.name for path in (directory / "checkpoints").glob("step-*.pt")}


def test_an_address_of_a_removed_checkpoint_tells_the_way_back(
    runs: Any, ckpt: Any, daemon: Any, eventually: Any
) -> None:
    directory = two_gone(runs, "exp1")
    eventually(lambda: len(entries(ckpt)) == 2)
    (oldest,) = (entry for entry in entries(ckpt) if entry["checkpoint"]["step"] == 10)
    way = "it was moved to the trash"
    for address in ("exp1@step:10", "exp1@step-000010", oldest["checkpoint"]["id"]):
        shown = ckpt("show", address)
        assert shown.code == 2 and way in shown.err, shown.err
        assert f"`ckpt trash restore {address}` brings it back" in shown.err
    assert way in ckpt("pin", "exp1@step:10").err
    for path in (f"{directory}@step:10", directory / "checkpoints" / "step-000010.pt"):
        assert f"`ckpt trash restore {oldest['id']}` brings it back" in ckpt("show", path).err
    assert way not in ckpt("show", "exp1@step:70").err
    assert ckpt("trash", "restore", "exp1@step:10").code == 0
    assert names(directory) == {"step-000010.pt", "step-000030.pt", "step-000040.pt"}


def test_entries_are_named_by_file_plan_or_run_and_a_whole_run_is_asked(
    runs: Any, ckpt: Any, daemon: Any, eventually: Any
) -> None:
    first, second = two_gone(runs, "exp1"), two_gone(runs, "exp2")
    eventually(lambda: len(entries(ckpt)) == 4)
    ambiguous = ckpt("trash", "restore", "step-000010.pt", "--json")
    assert ambiguous.code == 2 and "names 2 entries" in ambiguous.error["message"]
    assert len(ambiguous.error["candidates"]) == 2
    nowhere = ckpt("trash", "restore", "exp1@step:70")
    assert nowhere.code == 2 and "exp1@step:10" in nowhere.err
    assert ckpt("trash", "restore", "nosuch").code == 2
    asked = ckpt("trash", "restore", "exp1")
    assert asked.code == 2 and "bring 2 checkpoints" in asked.err and "--yes" in asked.err
    assert len(names(first)) == 2
    assert ckpt("trash", "restore", "exp1", "--yes").code == 0
    assert len(names(first)) == 4
    assert ckpt("trash", "restore", "step-000010").code == 0
    assert len(names(second)) == 3
    plan = entries(ckpt)[0]["plan"]
    assert ckpt("trash", "restore", plan).code == 0
    assert len(names(second)) == 4


def test_a_purge_of_many_is_asked_by_run(runs: Any, ckpt: Any, daemon: Any, eventually: Any) -> None:
    directory: Path = runs.run("exp1", policy={"keep_last": 1})
    for number in range(1, 23):
        runs.checkpoint(directory, step=number * 10)
    eventually(lambda: len(entries(ckpt)) == 21)
    declined = ckpt("trash", "purge", "--all", answer="n")
    assert declined.code == 1 and "delete 21 checkpoints" in declined.err
    assert "CHECKPOINTS" in declined.err and "step-000010.pt" not in declined.err
    few = ckpt("trash", "purge", "exp1@step:10", answer="n")
    assert "step-000010.pt" in few.err
    assert len(entries(ckpt)) == 21


def test_the_summary_has_a_line_a_run() -> None:
    gone = [{"run": run, "bytes": 500, "trashed_at": float(at)} for run, at in (("a", 1), ("b", 2), ("a", 3), ("a", 4))]
    lines = summary_lines(gone, {"a": "lit-a"}, paint=Paint(False), width=None)
    assert [line.split()[:3] for line in lines[1:]] == [["lit-a", "3", "1.5"], ["b", "1", "500"]]


@pytest.mark.parametrize("word", ["", "@", "exp1@", "a/b@step:x"])
def test_odd_words_name_nothing(word: str) -> None:
    from ckpt.exceptions import AddressError
    from ckpt_tui.removed import named

    entry = {"id": "t1", "run": "r", "path": "/x/step-1.pt", "plan": "p", "checkpoint": {"id": "c", "step": 1}}
    with pytest.raises(AddressError, match="names nothing in the trash"):
        named(word, [entry], [])
