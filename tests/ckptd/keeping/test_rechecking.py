"""The last look at an item before its rename: each thing that may have happened since the plan keeps it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt import marks
from ckpt.records import Checkpoint
from ckptd.keeping import rechecking


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "lab" / "run").mkdir(parents=True)
    (tmp_path / "lab" / "run" / "a.ckpt").write_bytes(b"weights")
    return tmp_path / "lab"


@pytest.fixture
def checkpoint(base: Path) -> Checkpoint:
    path = str(base / "run" / "a.ckpt")
    return Checkpoint(id="c1", run="r1", path=path, files=(path,), bytes=7, saved_at=0.0, state="complete", format="x")


def test_what_is_as_it_was_goes(base: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    stamps = rechecking.stamps_of(checkpoint.files)
    assert rechecking.changed(str(base), checkpoint, stamps, None, {}) is None
    assert rechecking.changed(str(base), checkpoint, stamps, tmp_path / "none.jsonl", {}) is None


def _rewritten(path: Path) -> None:
    path.write_bytes(b"another")


def _gone(path: Path) -> None:
    path.unlink()


def _a_link(path: Path) -> None:
    path.rename(path.with_name("b.ckpt"))
    path.symlink_to("b.ckpt")


@pytest.mark.parametrize("change", [_rewritten, _gone, _a_link])
def test_what_changed_stays(base: Path, checkpoint: Checkpoint, change: Callable[[Path], None]) -> None:
    stamps = rechecking.stamps_of(checkpoint.files)
    change(Path(checkpoint.path))
    assert rechecking.changed(str(base), checkpoint, stamps, None, {}) == "it changed since it was planned"
    assert rechecking.changed(str(base), checkpoint, None, None, {}) == "it changed since it was planned"


def test_what_lies_outside_stays(base: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    stamps = rechecking.stamps_of(checkpoint.files)
    other = tmp_path / "other"
    other.mkdir()
    assert "outside other" in str(rechecking.changed(str(other), checkpoint, stamps, None, {}))
    # Reached by the name of the base, and yet elsewhere.
    os.rename(base / "run", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", base / "run")
    stamps = rechecking.stamps_of(checkpoint.files)
    assert "outside lab" in str(rechecking.changed(str(base), checkpoint, stamps, None, {}))


@pytest.mark.parametrize("fields", [{"kind": "pin"}, {"kind": "tag", "name": "paper"}, {"kind": "fork", "child": "f"}])
def test_what_was_marked_stays(base: Path, checkpoint: Checkpoint, tmp_path: Path, fields: dict[str, str]) -> None:
    stamps, kept = rechecking.stamps_of(checkpoint.files), tmp_path / "marks.jsonl"
    kind = fields.pop("kind")
    marks.append(kept, kind, "another", **fields)
    assert rechecking.changed(str(base), checkpoint, stamps, kept, {}) is None
    marks.append(kept, kind, "c1", **fields)
    assert rechecking.changed(str(base), checkpoint, stamps, kept, {}) == "it was marked meanwhile"


def test_under_another_policy_everything_stays(base: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    stamps, kept = rechecking.stamps_of(checkpoint.files), tmp_path / "marks.jsonl"
    marks.append(kept, "policy", None, policy={"keep_last": 3})
    assert rechecking.changed(str(base), checkpoint, stamps, kept, {"keep_last": 3}) is None
    for planned in ({}, {"keep_last": 2}):
        assert rechecking.changed(str(base), checkpoint, stamps, kept, planned) == rechecking.POLICY_CHANGED
