from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckptd.catalog.lost_marks import marks_told
from ckptd.catalog.renewal import renew
from ckptd.looking.places import place_of


@pytest.fixture
def foreign(world: Any, tmp_path: Path) -> Path:
    """A watched run of somebody else with two checkpoints."""
    directory = tmp_path / "theirs" / "exp"
    directory.mkdir(parents=True)
    for step in (1, 2):
        torch.save({"state_dict": {"w": torch.full((2,), float(step))}, "step": step}, directory / f"step-{step}.pt")
    world.post("/v1/roots", path=str(tmp_path / "theirs"))
    return directory


def marks_file(world: Any) -> Path:
    (view,) = world.catalog.all()
    path: Path = world.state.marks / f"{view.run.id}.jsonl"
    return path


def said(world: Any) -> list[tuple[str, tuple[str, ...], bool, str | None]]:
    (view,) = world.catalog.all()
    return sorted(
        (Path(c.path).name, tuple(t for t in c.tags if not t.startswith(("best", "latest"))), c.pinned, c.note)
        for c in view.checkpoints
    )


def speak(world: Any, directory: Path) -> None:
    one, two = str(directory / "step-1.pt"), str(directory / "step-2.pt")
    world.post("/v1/marks", ref=one, kind="tag", name="paper")
    world.post("/v1/marks", ref=two, kind="pin")
    world.post("/v1/marks", ref=two, kind="note", text="good")
    world.post("/v1/marks", ref=one, kind="pin")
    world.post("/v1/undo")
    world.post("/v1/marks", ref=two, kind="tag", name="paper")


def renewed(world: Any) -> tuple[str, ...]:
    marks: tuple[str, ...] = renew(world.scanner, world.catalog, world.journal, world.state).marks
    return marks


def test_marks_whose_file_is_gone_come_back_as_they_were(world: Any, foreign: Path) -> None:
    speak(world, foreign)
    before = said(world)
    assert before == [("step-1.pt", (), False, None), ("step-2.pt", ("paper",), True, "good")]
    marks_file(world).unlink()
    (told,) = renewed(world)
    assert "were gone: 6 marks" in told
    assert said(world) == before
    assert place_of(marks_file(world)) is not None
    assert all('"fingerprint"' in line for line in marks_file(world).read_text().splitlines() if "checkpoint" in line)
    assert marks_file(world).stat().st_mode & 0o777 == 0o600
    assert renewed(world) == ()


@pytest.mark.parametrize("damage", [b"\0" * 40, b'{"kind": "pi', b"\xff\xfe\n", b"[1]\n3\n"])
def test_a_damaged_file_keeps_what_it_had_and_gets_what_it_lost(world: Any, foreign: Path, damage: bytes) -> None:
    speak(world, foreign)
    before, path = said(world), marks_file(world)
    lines = path.read_bytes().splitlines(keepends=True)
    said_lines = sum(b'"checkpoint"' in line for line in lines[2:])
    path.write_bytes(b"".join(lines[:2]) + damage)
    (told,) = renewed(world)
    assert f"were damaged: {said_lines} marks" in told
    assert renewed(world) == ()
    assert said(world) == before
    kept = [p.read_bytes() for p in path.parent.iterdir() if ".corrupt-" in p.name]
    assert kept == [b"".join(lines[:2]) + damage]


def test_words_that_only_the_file_had_stay(world: Any, foreign: Path) -> None:
    speak(world, foreign)
    path = marks_file(world)
    checkpoint = world.catalog.all()[0].checkpoints[0].id
    with open(path, "ab") as stream:
        stream.write(
            b'{"at": 9e9, "kind": "fork", "checkpoint": "%s", "child": "c", "name": "kid"}\n{' % checkpoint.encode()
        )
    renewed(world)
    held = [c.held_by for c in world.catalog.all()[0].checkpoints if c.id == checkpoint]
    assert held == [("parent of kid",)]


def test_a_file_that_cannot_be_read_is_told_and_left(world: Any, foreign: Path) -> None:
    path = marks_file(world)
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    (told,) = renewed(world)
    assert "cannot be read" in told
    assert path.is_dir()


def test_whole_files_and_runs_without_words_are_left_alone(world: Any, foreign: Path, runs: Any) -> None:
    own = runs.run("exp1", checkpoints=1)
    world.post("/v1/roots", path=str(runs.base))
    world.post("/v1/marks", ref="exp1@latest", kind="pin")
    speak(world, foreign)
    content = {p: p.read_bytes() for p in world.state.marks.iterdir()}
    assert renewed(world) == ()
    assert {p: p.read_bytes() for p in world.state.marks.iterdir()} == content
    (own / "marks.jsonl").unlink()
    # The marks of an own run lie in its own directory, where nothing is written unasked.
    assert renewed(world) == ()
    assert not (own / "marks.jsonl").exists()


@pytest.mark.parametrize("running", [True, False])
def test_the_users_words_outlive_the_whole_catalog(
    make_world: Callable[[], Any], world: Any, foreign: Path, running: bool
) -> None:
    speak(world, foreign)
    before = said(world)
    world.catalog.flush()
    shutil.rmtree(world.state.catalog)
    if running:
        renewed(world)
        assert said(world) == before
        assert len(list(world.state.catalog.iterdir())) == 1
    world.journal.close()
    again = make_world()
    again.post("/v1/rescan")
    assert said(again) == before


def test_what_the_journal_tells_is_what_was_said_in_order() -> None:
    acts = [
        {
            "seq": 1,
            "at": 1.0,
            "kind": "mark",
            "mark": "tag",
            "run": "r",
            "checkpoint": "c",
            "name": "a",
            "file": "x.pt",
        },
        {"seq": 2, "at": 2.0, "kind": "mark", "mark": "pin", "run": "r", "checkpoint": "c", "why": "", "inverse": {}},
        {"seq": 3, "at": 3.0, "kind": "mark", "mark": "note", "run": "q", "checkpoint": "d", "text": ""},
        {"seq": 4, "at": 4.0, "kind": "remove", "run": "r"},
        {
            "seq": 5,
            "at": 5.0,
            "kind": "mark",
            "mark": "pin",
            "run": "r",
            "checkpoint": "e",
            "inverse": {"kind": "unpin", "checkpoint": "e"},
        },
        {"seq": 6, "at": 6.0, "kind": "undo", "of": 5, "run": "r"},
        {"seq": 7, "at": 7.0, "kind": "undo", "of": 4, "run": "r"},
    ]
    assert marks_told(acts) == {
        "r": [
            {"at": 1.0, "kind": "tag", "checkpoint": "c", "file": "x.pt", "name": "a"},
            {"at": 2.0, "kind": "pin", "checkpoint": "c", "why": ""},
            {"at": 5.0, "kind": "pin", "checkpoint": "e"},
            {"at": 6.0, "kind": "unpin", "checkpoint": "e"},
        ],
        "q": [{"at": 3.0, "kind": "note", "checkpoint": "d", "text": ""}],
    }
