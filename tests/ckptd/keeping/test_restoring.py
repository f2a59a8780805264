"""What comes back from the trash, and what is told of what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt import marks
from ckpt.exceptions import AddressError
from ckpt.paths import RunPaths


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


@pytest.fixture
def removed(world: Any, foreign: Any, enforced: Any) -> Path:
    """A foreign run of five whose three oldest lie in the trash."""
    run: Path = foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    return run


def ids(world: Any) -> list[str]:
    return [item.entry.id for item in world.keeper.entries()]


def test_a_name_that_is_taken_keeps_no_other_from_coming_back(world: Any, removed: Path) -> None:
    (removed / "checkpoint-20").mkdir()
    (removed / "checkpoint-20" / "mine").write_text("newer")
    answer = world.post("/v1/trash/restore", ids=ids(world))
    assert sorted(Path(item["path"]).name for item in answer["restored"]) == ["checkpoint-10", "checkpoint-30"]
    (left,) = answer["left"]
    assert left["path"] == str(removed / "checkpoint-20") and "taken by a newer file" in left["reason"]
    assert left["entry"] in ids(world) and len(ids(world)) == 1
    assert (removed / "checkpoint-20" / "mine").read_text() == "newer"
    assert world.kinds().count("checkpoint.restored") == 2


def test_what_did_not_come_back_is_not_pinned_and_said_to_have_stayed(world: Any, removed: Path) -> None:
    run = world.catalog.at(str(removed)).run.id
    kept = world.state.marks / f"{run}.jsonl"
    (removed / "checkpoint-20").mkdir()
    world.post("/v1/trash/restore", ids=ids(world))
    assert len(marks.read(kept).pins) == 2
    assert world.catalog.at(str(removed)).run.problems == ()
    acts = [act["kind"] for act in world.journal.acts()]
    assert acts.count("restore") == 3
    (removed / "checkpoint-20").rmdir()
    answer = world.post("/v1/trash/restore", ids=ids(world))
    assert len(answer["restored"]) == 1 and answer["left"] == []
    assert len(marks.read(kept).pins) == 3


def test_a_pin_of_its_own_outlives_a_restore_that_fails(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=5, policy={"keep_last": 2})
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    sweep(world)
    item = world.keeper.entries()[0]
    checkpoint = item.entry.checkpoint["id"]
    marks.append(RunPaths(directory).marks, "pin", checkpoint, why="mine")
    taken = Path(item.entry.files[0])
    taken.write_bytes(b"newer")
    assert world.post("/v1/trash/restore", ids=[item.entry.id])["restored"] == []
    assert checkpoint in marks.read(RunPaths(directory).marks).pins
    other = world.keeper.entries()[1]
    Path(other.entry.files[0]).write_bytes(b"newer")
    world.post("/v1/trash/restore", ids=[other.entry.id])
    assert other.entry.checkpoint["id"] not in marks.read(RunPaths(directory).marks).pins


def test_an_id_that_is_unknown_brings_nothing_back(world: Any, removed: Path) -> None:
    with pytest.raises(AddressError):
        world.post("/v1/trash/restore", ids=[*ids(world), "f" * 15])
    assert len(ids(world)) == 3
