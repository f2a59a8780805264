"""What the user said: appended, folded, and read back from a damaged file too."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from ckpt import marks
from ckpt.exceptions import UsageError
from ckpt.marks import Late


def test_marks_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    assert marks.read(path).of("c1") == marks.CheckpointMarks()
    marks.append(path, "tag", "c1", name="paper", file="step-1.pt")
    marks.append(path, "pin", "c1", why="restored")
    marks.append(path, "note", "c1", text="line one\nline two")
    marks.append(path, "metric", "c1", name="bleu", value=31.5)
    marks.append(path, "metric", "c1", metrics={"wer": math.inf, "acc": 0.5}, step=40)
    marks.append(path, "fork", "c1", child="r2", name="exp2")
    read = marks.read(path)
    assert read.of("c1") == marks.CheckpointMarks(
        tags=("paper",),
        pinned=True,
        note="line one\nline two",
        metrics={"bleu": Late(31.5), "wer": Late(math.inf, 40), "acc": Late(0.5, 40)},
        forks=("exp2",),
    )
    assert read.files == {"c1": "step-1.pt"} and read.pins == {"c1": "restored"}
    assert read.of("c2") == marks.CheckpointMarks()


def test_later_lines_take_back_earlier_ones() -> None:
    lines = [
        {"kind": "tag", "checkpoint": "c1", "name": "paper"},
        {"kind": "tag", "checkpoint": "c1", "name": "v1"},
        {"kind": "untag", "checkpoint": "c1", "name": "v1"},
        {"kind": "pin", "checkpoint": "c1"},
        {"kind": "unpin", "checkpoint": "c1"},
        {"kind": "note", "checkpoint": "c1", "text": "x"},
        {"kind": "note", "checkpoint": "c1", "text": ""},
        {"kind": "unpin", "checkpoint": "never pinned"},
    ]
    assert marks.fold(lines).of("c1") == marks.CheckpointMarks(tags=("paper",))


def test_a_tag_names_one_checkpoint_of_a_run() -> None:
    folded = marks.fold(
        [
            {"kind": "tag", "checkpoint": "c1", "name": "paper"},
            {"kind": "tag", "checkpoint": "c2", "name": "paper"},
            {"kind": "untag", "checkpoint": "c1", "name": "paper"},
        ]
    )
    assert folded.of("c1").tags == () and folded.of("c2").tags == ("paper",)


def test_lines_that_are_not_understood_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    path.write_bytes(
        b'["a"]\n{"kind": "tag"}\n{"kind": "tag", "checkpoint": 7, "name": "x"}\nnot json\n\xff\xfe\n'
        b'{"kind": "metric", "checkpoint": "c", "name": "m", "value": "many"}\n'
        b'{"kind": "unheard of", "checkpoint": "c"}\n{"kind": "tag", "checkpoint": "c", "name": ["x"]}\n'
        b'{"kind": "pin", "checkpoint": "c"}\n{"kind": "unpin", "checkpo'
    )
    assert marks.read(path).of("c") == marks.CheckpointMarks(pinned=True)
    marks.append(path, "unpin", "c")
    assert not marks.read(path).of("c").pinned, "the torn line spoils only itself"


@pytest.mark.parametrize("name", ["paper", "v1.0", "a/b", "2026-11-23", "A_b+c", "best-model", "bestial", "x" * 64])
def test_names_that_can_be_tags(name: str) -> None:
    assert marks.check_tag(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("latest", "moves by itself"),
        ("last", "moves by itself"),
        ("best", "moves by itself"),
        ("best-12", "moves by itself"),
        ("", "cannot be a tag"),
        ("-rf", "cannot be a tag"),
        ("~1", "cannot be a tag"),
        ("step:4", "cannot be a tag"),
        ("a b", "cannot be a tag"),
        ("a@b", "cannot be a tag"),
        ("paper\n", "cannot be a tag"),
        ("x" * 65, "cannot be a tag"),
        ("caf\u00e9", "cannot be a tag"),
        ("\udcff", "cannot be a tag"),
    ],
)
def test_names_that_cannot_be_tags(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        marks.check_tag(name)


def test_a_file_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"m\xff.pt")
    marks.append(tmp_path / "m", "pin", "c1", file=name, fingerprint="torch:1")
    assert marks.read(tmp_path / "m").files == {"c1": name}


def test_a_line_that_says_where_a_run_is_marks_nothing() -> None:
    folded = marks.fold([{"kind": "place", "path": "/a", "root": {"path": "/"}, "device": 1, "inode": 2}])
    assert folded == marks.Marks()
