"""Marks of foreign runs stay with their run, wherever it goes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import files, marks
from ckpt.records import foreign_run_id
from ckptd.catalog.renewal import renew
from ckptd.looking.places import place_of


def foreign(directory: Path, *, step: int = 1, name: str = "model.pt") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    torch.save({"w": torch.full((8,), float(step)), "global_step": step}, directory / name)
    return directory


def checkpoint(world: Any, directory: Path) -> Any:
    return world.catalog.at(str(directory)).checkpoints[0]


def marked(world: Any, directory: Path) -> None:
    """Pins, tags and notes the run's newest checkpoint."""
    ref = checkpoint(world, directory).path
    world.post("/v1/marks", ref=ref, kind="pin")
    world.post("/v1/marks", ref=ref, kind="tag", name="paper")
    world.post("/v1/marks", ref=ref, kind="note", text="the one")


def said(world: Any, directory: Path) -> tuple[Any, ...]:
    view = world.catalog.at(str(directory))
    assert view is not None
    found = view.checkpoints[0]
    return found.pinned, "paper" in found.tags, found.note


ALL, NONE = (True, True, "the one"), (False, False, None)


@pytest.fixture
def base(world: Any, tmp_path: Path) -> Path:
    """A watched root with one marked run in `a`."""
    root = tmp_path / "root"
    foreign(root / "a")
    world.roots.add(str(root), "observe", [])
    world.scanner.full()
    marked(world, root / "a")
    return root


def test_a_marks_file_says_where_its_run_is_and_what_was_marked(world: Any, base: Path) -> None:
    run = world.catalog.at(str(base / "a")).run
    path = world.state.marks / f"{run.id}.jsonl"
    place = place_of(path)
    info = (base / "a").stat()
    assert place is not None
    assert (place.path, place.root) == (str(base / "a"), str(base))
    assert (place.device, place.inode) == (info.st_dev, info.st_ino)
    lines = [line for line in files.read_json_lines(path) if "checkpoint" in line]
    assert {line["file"] for line in lines} == {"model.pt"}
    assert all(line["fingerprint"] == checkpoint(world, base / "a").fingerprint for line in lines)
    assert len(list(files.read_json_lines(path))) == len(lines) + 1


@pytest.mark.parametrize("how", ["full", "dirty"])
def test_a_renamed_run_keeps_its_marks_and_back(world: Any, base: Path, how: str) -> None:
    def look(*directories: Path) -> None:
        if how == "full":
            world.scanner.full()
        else:
            world.scanner.dirty({str(directory): True for directory in directories})

    old = world.catalog.at(str(base / "a")).run.id
    (base / "b").mkdir()
    (base / "a").rename(base / "b" / "moved")
    look(base / "a", base / "b")
    assert said(world, base / "b" / "moved") == ALL
    assert world.catalog.get(old) is None
    moved = next(event for event in world.events.since(None) if event["kind"] == "run.moved")
    assert (moved["was"], moved["from"], moved["to"]) == (old, str(base / "a"), str(base / "b" / "moved"))
    assert len(list(world.state.marks.iterdir())) == 1
    (base / "b" / "moved").rename(base / "a")
    look(base / "a", base / "b")
    assert said(world, base / "a") == ALL
    assert world.catalog.at(str(base / "a")).run.id == old


def test_what_was_marked_before_a_move_can_be_unmarked_after_it(world: Any, base: Path) -> None:
    (base / "a").rename(base / "b")
    world.scanner.full()
    for want in (
        ("note", (True, True, None)),
        ("tag", (True, False, None)),
        ("pin", (False, False, None)),
    ):
        undone = world.post("/v1/undo")["undone"]
        assert undone["kind"] == want[0]
        assert undone["run"] == world.catalog.at(str(base / "b")).run.id
        assert said(world, base / "b") == want[1]


def test_a_copy_beside_the_original_takes_nothing(world: Any, base: Path) -> None:
    shutil.copytree(base / "a", base / "copy")
    world.scanner.full()
    assert said(world, base / "copy") == NONE
    assert said(world, base / "a") == ALL


def test_other_files_under_a_used_inode_take_nothing(world: Any, base: Path) -> None:
    (base / "a").rename(base / "b")
    (base / "b" / "model.pt").unlink()
    foreign(base / "b", step=99)
    world.scanner.full()
    assert said(world, base / "b") == NONE


def test_a_new_run_at_the_old_place_leaves_the_marks_to_the_moved_one(world: Any, base: Path) -> None:
    (base / "a").rename(base / "z")
    foreign(base / "a", step=50)
    world.scanner.full()
    assert said(world, base / "z") == ALL
    assert said(world, base / "a") == NONE


def test_a_wider_and_a_narrower_root_keep_the_marks(world: Any, tmp_path: Path) -> None:
    inner = foreign(tmp_path / "data" / "x" / "checkpoints")
    world.post("/v1/roots", path=str(inner))
    marked(world, inner)
    wide = world.post("/v1/roots", path=str(tmp_path / "data"))
    assert wide["absorbed"] == [str(inner)]
    # Below a wider root the directory is a part of the run above it.
    assert said(world, inner.parent) == ALL
    assert world.catalog.at(str(inner)) is None
    world.post("/v1/roots/remove", path=str(tmp_path / "data"))
    assert world.catalog.all() == []
    world.post("/v1/roots", path=str(inner))
    assert said(world, inner) == ALL


def test_a_mark_follows_a_run_whose_name_is_not_utf8(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    name = os.fsdecode(b"m\xff.pt")
    foreign(root / os.fsdecode(b"a\xfe"), name=name)
    world.roots.add(str(root), "observe", [])
    world.scanner.full()
    world.post("/v1/marks", ref=world.catalog.all()[0].checkpoints[0].id, kind="pin")
    (root / os.fsdecode(b"a\xfe")).rename(root / os.fsdecode(b"b\xfe"))
    world.scanner.full()
    assert [view.checkpoints[0].pinned for view in world.catalog.all()] == [True]


def test_a_kill_between_rewriting_and_renaming_loses_nothing(
    make_world: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    foreign(root / "a")
    first = make_world()
    first.roots.add(str(root), "observe", [])
    first.scanner.full()
    marked(first, root / "a")
    first.catalog.flush()
    (root / "a").rename(root / "b")
    with monkeypatch.context() as patch:
        from ckptd.looking import adopting

        def killed(*_: Any) -> None:
            raise OSError("killed")

        patch.setattr(adopting.os, "replace", killed)
        patch.setattr(files.os, "replace", os.rename)
        first.scanner.full()
    second = make_world()
    second.scanner.anew()
    assert said(second, root / "b") == ALL
    assert [path.stem for path in second.state.marks.iterdir()] == [foreign_run_id(str(root), "b")]


def test_a_run_that_was_copied_to_another_disk_and_removed_keeps_its_marks(world: Any, base: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == base.stat().st_dev:
        pytest.skip("there is only one disk")
    foreign(base / "other")
    with tempfile.TemporaryDirectory(dir=memory) as disk:
        world.roots.add(disk, "observe", [])
        shutil.copytree(base / "a", Path(disk) / "other")
        shutil.copytree(base / "a", Path(disk) / "a")
        shutil.rmtree(base / "a")
        world.scanner.full()
        assert said(world, Path(disk) / "other") == NONE
        assert said(world, Path(disk) / "a") == ALL


def test_runs_with_the_same_content_keep_each_its_own_marks_when_their_root_is_renamed(
    world: Any, tmp_path: Path
) -> None:
    root, renamed = tmp_path / "root", tmp_path / "renamed"
    first = foreign(root / "t1")
    for name in ("t2", "t3", "deep/t4"):
        shutil.copytree(first, root / name)
    world.post("/v1/roots", path=str(root))
    for name in ("t1", "t3", "deep/t4"):
        world.post("/v1/marks", ref=str(root / name / "model.pt"), kind="note", text=f"of {name}")
    root.rename(renamed)
    world.scanner.full()
    world.post("/v1/roots", path=str(renamed))
    notes = {name: checkpoint(world, renamed / name).note for name in ("t1", "t2", "t3", "deep/t4")}
    assert notes == {"t1": "of t1", "t2": None, "t3": "of t3", "deep/t4": "of deep/t4"}


def test_marks_follow_a_root_that_was_moved_into_one_that_is_watched_now(world: Any, base: Path) -> None:
    wide = base.parent / "wide"
    world.post("/v1/roots", path=str(base))
    wide.mkdir()
    base.rename(wide / base.name)
    world.scanner.full()
    answer = world.post("/v1/roots", path=str(wide))
    assert answer["absorbed"] == [str(base)]
    assert [view.run.path for view in world.catalog.all()] == [str(wide / base.name / "a")]
    assert said(world, wide / base.name / "a") == ALL


def test_a_pin_on_a_file_that_was_rewritten_is_told_as_gone(world: Any, base: Path) -> None:
    foreign(base / "a", step=7)
    world.scanner.full()
    view = world.catalog.at(str(base / "a"))
    assert said(world, base / "a") == NONE
    assert view.run.problems == ("model.pt was rewritten: the content that was marked (pinned, tagged paper) is gone",)


def test_marks_of_runs_of_ours_carry_no_place(world: Any, runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    world.post("/v1/roots", path=str(runs.base))
    world.post("/v1/marks", ref=str(directory), kind="pin")
    lines = list(files.read_json_lines(directory / "marks.jsonl"))
    assert [(line["kind"], line["file"], "fingerprint" in line) for line in lines] == [("pin", "step-000010.pt", False)]
    moved = directory.rename(runs.base / "renamed")
    world.scanner.full()
    view = world.catalog.at(str(moved))
    assert view.checkpoints[0].pinned
    assert marks.read(moved / "marks.jsonl").pins.keys() == {view.checkpoints[0].id}
    kinds = [kind for kind in world.kinds() if kind.startswith(("run.moved", "checkpoint.gone", "run.removed"))]
    assert kinds == ["run.moved"]


def test_marks_that_are_lost_after_a_move_come_back_from_the_journal(world: Any, base: Path) -> None:
    (base / "a").rename(base / "b")
    world.scanner.full()
    world.post("/v1/undo")
    next(world.state.marks.iterdir()).unlink()
    renew(world.scanner, world.catalog, world.journal, world.state)
    assert said(world, base / "b") == (True, True, None)
