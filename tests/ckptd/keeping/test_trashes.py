"""Trashes are found again: under another name of their root, below a root further up, after a restart."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import OperationError
from ckpt.trash import placing
from ckptd.keeping.bins import Bin


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


def side_by_side(foreign: Any) -> Path:
    """A root that itself holds the checkpoints of a run."""
    run = foreign.transformers()
    for directory in run.iterdir():
        directory.rename(foreign.base / directory.name)
    run.rmdir()
    base: Path = foreign.base
    return base


def steps(directory: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in directory.glob("checkpoint-*"))


def test_a_root_that_is_renamed_keeps_the_trash_beside_it(
    world: Any, make_world: Any, foreign: Any, enforced: Any
) -> None:
    base = side_by_side(foreign)
    enforced(keep_last=2)
    sweep(world)
    beside = base.parent / ".ckptd-lab" / "trash"
    assert beside.is_dir() and len(world.keeper.entries()) == 3
    renamed = base.parent / "renamed"
    base.rename(renamed)
    world.post("/v1/roots", path=str(renamed))
    assert len(world.keeper.entries()) == 3
    assert world.keeper.trash_of_root(str(renamed))["entries"] == 3
    assert world.get("/v1/undo")["undo"] is not None
    world.journal.close()
    again = make_world()
    again.scanner.full()
    again.post("/v1/trash/restore", ids=[item.entry.id for item in again.keeper.entries()])
    assert steps(renamed) == [10, 20, 30, 40, 50]
    # What came back is pinned under the id that the run has now.
    sweep(again)
    assert steps(renamed) == [10, 20, 30, 40, 50]
    (view,) = again.catalog.all()
    assert sum(c.pinned for c in view.checkpoints) == 3


def test_a_root_that_is_moved_elsewhere_on_its_disk_keeps_the_trash_beside_its_old_place(
    world: Any, foreign: Any, enforced: Any
) -> None:
    base = side_by_side(foreign)
    enforced(keep_last=2)
    sweep(world)
    elsewhere = base.parent / "a" / "b" / "lab"
    elsewhere.parent.mkdir(parents=True)
    base.rename(elsewhere)
    world.post("/v1/roots", path=str(elsewhere))
    world.post("/v1/trash/restore", ids=[item.entry.id for item in world.keeper.entries()])
    assert steps(elsewhere) == [10, 20, 30, 40, 50]


def test_a_trash_in_a_root_is_found_from_a_root_further_up(
    world: Any, foreign: Any, enforced: Any, passes: Any
) -> None:
    run = foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    world.post("/v1/roots/remove", path=str(foreign.base))
    assert world.keeper.entries() == [], "nobody watches it"
    world.post("/v1/roots", path=str(foreign.base.parent))
    entries = world.keeper.entries()
    assert len(entries) == 3
    assert world.keeper.trash_of_root(str(foreign.base.parent))["entries"] == 3
    world.post("/v1/trash/restore", ids=[entries[0].entry.id])
    assert len(steps(run)) == 3
    world.keeper.purge_due()
    passes(86401)
    world.keeper.purge_due()
    assert len(world.keeper.entries()) == 2, "nothing is written under a root that is only observed"
    world.roots.enforce(str(foreign.base.parent))
    world.keeper.purge_due()
    passes(86401)
    world.keeper.purge_due()
    assert world.keeper.entries() == []


def test_a_root_that_another_machine_owns_by_its_other_place_is_left_alone(
    world: Any, foreign: Any, enforced: Any
) -> None:
    """The place of a trash depends on what lies in the root, and that changes."""
    inside = foreign.base / ".ckptd"
    (inside / "trash").mkdir(parents=True)
    (inside / "owner.json").write_text(
        json.dumps(
            {
                "version": 1,
                "id": "e" * 16,
                "machine": "f" * 16,
                "host": "elsewhere",
                "user": "eva",
                "claimed_at": time.time(),
            }
        )
    )
    base = side_by_side(foreign)
    enforced(keep_last=2)
    target = Bin(world.catalog.all()[0], world.keeper._trashes)
    with pytest.raises(OperationError, match="elsewhere"):
        target.trash()
    sweep(world)
    assert steps(base) == [10, 20, 30, 40, 50] and not (base.parent / ".ckptd-lab").exists()
    with pytest.raises(OperationError, match="enforced already by user eva on another machine, elsewhere"):
        world.post("/v1/roots", path=str(base), mode="enforce", policy={"keep_last": 2, "monitor": "none"})
    given = {"keep_last": 2, "monitor": "none", "min_age": 0, "max_share": 1.0}
    world.post("/v1/roots", path=str(base), mode="enforce", policy=given, take_over=True)
    plan = world.get(f"/v1/plan?root={base}&enforced=1")["id"]
    answer = world.post("/v1/roots", path=str(base), mode="enforce", plan=plan, take_over=True)
    assert len(answer["applied"]["removed"]) == 3


def test_where_a_trash_belongs_is_told_without_a_look_at_the_files_of_all_runs(
    world: Any, foreign: Any, enforced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        foreign.transformers(f"deep/run-{number}", steps=(10, 20))
    enforced(keep_last=1)
    seen: list[str] = []
    real = placing.where

    def where(root: str, entries: Any) -> placing.Place:
        seen.extend(entries)
        return real(root, entries)

    monkeypatch.setattr(placing, "where", where)
    place = world.keeper._trashes.place_for(str(foreign.base))
    assert place.directory == str(foreign.base / ".ckptd") and seen == []


@pytest.mark.parametrize("inside", ["lone", ""])
def test_where_a_trash_belongs_is_what_all_files_together_tell(
    world: Any, foreign: Any, enforced: Any, inside: str
) -> None:
    if inside:
        run = foreign.transformers()
        shutil.copytree(run / "checkpoint-10", foreign.base / inside)
    else:
        side_by_side(foreign)
    enforced(keep_last=2)
    root = str(foreign.base)
    files = [file for view in world.catalog.all() for c in view.checkpoints for file in (c.path, *c.files)]
    assert any(os.path.dirname(file) == root for file in files)
    assert world.keeper._trashes.place_for(root) == placing.where(root, files)
