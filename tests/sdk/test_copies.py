"""Restore: whole or nothing, and nothing overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt import copies, scan
from ckpt.exceptions import OperationError, UsageError


def files_of(view: scan.RunView, index: int = 0) -> list[Path]:
    return [Path(name) for name in view.checkpoints[index].files]


def test_restore_into_a_directory_and_to_a_name(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1))
    source = Path(view.checkpoints[0].path)
    done: list[int] = []
    made = copies.restore_checkpoint(files_of(view), tmp_path / "out", progress=done.append)
    assert {p.parent for p in made} == {tmp_path / "out"}
    (tmp_path / "there").mkdir()
    made = copies.restore_checkpoint(files_of(view), tmp_path / "there")
    assert sorted(p.name for p in made) == ["step-000010.json", "step-000010.pt"]
    assert made[0].read_bytes() == source.read_bytes()
    assert made[0].stat().st_mtime_ns == source.stat().st_mtime_ns
    assert made[0].stat().st_nlink == 1 and made[0].stat().st_ino != source.stat().st_ino
    assert sum(done) >= source.stat().st_size
    named = copies.restore_checkpoint(files_of(view), tmp_path / "mine.pt")
    assert sorted(p.name for p in named) == ["mine.json", "mine.pt"]


def test_restore_overwrites_nothing(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1))
    (tmp_path / "step-000010.json").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        copies.restore_checkpoint(files_of(view), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["runs", "step-000010.json"]


def test_a_restore_that_fails_leaves_nothing(runs, tmp_path: Path) -> None:
    view = scan.read_run(runs.run(checkpoints=1))
    main, marker = files_of(view)
    marker.unlink()
    with pytest.raises(OperationError):
        copies.restore_checkpoint([main, marker], tmp_path / "out.pt")
    assert os.listdir(tmp_path) == ["runs"]


def test_restore_of_a_whole_run(runs, tmp_path: Path) -> None:
    directory = runs.run(checkpoints=2)
    (directory / "checkpoints" / "latest.pt").symlink_to("step-000020.pt")
    (directory / ".trash").mkdir()
    (directory / ".trash" / "x").write_text("not wanted")
    made = copies.restore_run(directory, tmp_path / "back" / "exp1")
    assert not (made / ".trash").exists()
    assert os.readlink(made / "checkpoints" / "latest.pt") == "step-000020.pt"
    assert [c.id for c in scan.read_run(made).checkpoints] == [c.id for c in scan.read_run(directory).checkpoints]
    with pytest.raises(UsageError, match="exists already"):
        copies.restore_run(directory, made)
    with pytest.raises(UsageError, match="into itself"):
        copies.restore_run(directory, directory / "inside")
    assert copies.tree_bytes(directory) == copies.tree_bytes(made)
