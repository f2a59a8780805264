"""Restore: whole or nothing, and nothing overwritten."""

from __future__ import annotations

import os
import shutil
import subprocess
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


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A checkpoint directory with a link, two names of one file, and names that are temporary or hidden elsewhere."""
    made = tmp_path / "checkpoint-5"
    (made / "shards").mkdir(parents=True)
    (made / "shards" / "a.bin").write_bytes(b"a" * 5000)
    os.link(made / "shards" / "a.bin", made / "shards" / "b.bin")
    (made / "latest").symlink_to("shards/a.bin")
    (made / ".metadata.tmp").write_bytes(b"t")
    for path in (made / "shards" / "a.bin", made / "shards", made):
        os.utime(path, ns=(10**18, 10**18))
    return made


def test_a_directory_is_copied_with_links_names_and_times(directory: Path, tmp_path: Path) -> None:
    done: list[int] = []
    (made,) = copies.restore_checkpoint([directory], tmp_path / "copy", progress=done.append)
    assert made == tmp_path / "copy"
    assert sorted(str(p.relative_to(made)) for p in made.rglob("*")) == sorted(
        str(p.relative_to(directory)) for p in directory.rglob("*")
    )
    assert os.readlink(made / "latest") == "shards/a.bin"
    first, second = (made / "shards" / name for name in ("a.bin", "b.bin"))
    assert first.stat().st_ino == second.stat().st_ino != (directory / "shards" / "a.bin").stat().st_ino
    assert first.read_bytes() == b"a" * 5000 and sum(done) == 5001
    for path in (made, made / "shards", first):
        assert path.stat().st_mtime_ns == 10**18
    (tmp_path / "there").mkdir()
    assert copies.restore_checkpoint([directory], tmp_path / "there") == [tmp_path / "there" / "checkpoint-5"]


def test_links_that_leave_a_checkpoint_are_copied_as_files(directory: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "0123"
    blob.parent.mkdir()
    blob.write_bytes(b"w" * 3000)
    (directory / "model.bin").symlink_to("../blobs/0123")
    (directory / "again.bin").symlink_to(blob)
    (directory / "chained.bin").symlink_to("model.bin")
    (directory / "absolute").symlink_to(directory / "shards" / "a.bin")
    (directory / "around").symlink_to(f"../{directory.name}/shards")
    (directory / "outside").symlink_to("../blobs")
    (made,) = copies.restore_checkpoint([directory], tmp_path / "deep" / "copy")
    for name in ("model.bin", "again.bin", "chained.bin"):
        assert not (made / name).is_symlink() and (made / name).read_bytes() == b"w" * 3000
        assert (made / name).stat().st_ino == (made / "model.bin").stat().st_ino != blob.stat().st_ino
    assert os.readlink(made / "latest") == os.readlink(made / "absolute") == "shards/a.bin"
    assert os.readlink(made / "around") == "shards"
    assert os.readlink(made / "outside") == str(blob.parent)
    shutil.rmtree(directory)
    assert all(path.exists() for path in made.rglob("*"))


def test_a_link_that_leads_to_nothing_is_not_restored(directory: Path, tmp_path: Path) -> None:
    (directory / "model.bin").symlink_to("../blobs/gone")
    with pytest.raises(OperationError, match="a link that leads to nothing"):
        copies.restore_checkpoint([directory], tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-5"]


def test_a_directory_is_copied_over_nothing_and_not_into_itself(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "there" / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists already"):
        copies.restore_checkpoint([directory], tmp_path / "there")
    with pytest.raises(UsageError, match="into itself"):
        copies.restore_checkpoint([directory], directory / "shards")


def test_a_directory_whose_copy_fails_leaves_nothing(directory: Path, tmp_path: Path) -> None:
    def stop(count: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OperationError, match="No space left"):
        copies.restore_checkpoint([directory], tmp_path / "copy", progress=stop)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-5"]


def test_a_checkpoint_of_several_files_needs_a_directory(tmp_path: Path) -> None:
    parts = [tmp_path / name for name in ("model_1.pt", "optimizer_1.pt")]
    for part in parts:
        part.write_bytes(part.name.encode())
    with pytest.raises(UsageError, match="one of 2 files"):
        copies.restore_checkpoint(parts, tmp_path / "new.pt")
    made = copies.restore_checkpoint(parts, tmp_path / "out")
    assert [path.read_bytes() for path in made] == [b"model_1.pt", b"optimizer_1.pt"]


def test_other_names_of_a_file_are_not_copied(tmp_path: Path) -> None:
    (tmp_path / "epoch=1.ckpt").write_bytes(b"one")
    os.link(tmp_path / "epoch=1.ckpt", tmp_path / "last.ckpt")
    (tmp_path / "best.ckpt").symlink_to("epoch=1.ckpt")
    names = [tmp_path / name for name in ("epoch=1.ckpt", "last.ckpt", "best.ckpt")]
    assert copies.restore_checkpoint(names, tmp_path / "out") == [tmp_path / "out" / "epoch=1.ckpt"]


def test_what_a_killed_restore_left_is_removed_by_the_next_one(runs, tmp_path: Path) -> None:
    run = runs.run("exp1", checkpoints=1)
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [tmp_path / f".mine.pt.{gone.pid}-0123abcd.tmp", tmp_path / f".copy.{gone.pid}-0123abcd.tmp" / "checkpoints"]
    left[0].write_bytes(b"half")
    left[1].mkdir(parents=True)
    (left[1] / "half.pt").write_bytes(b"half")
    others = [f".yours.pt.{gone.pid}-0123abcd.tmp", f".mine.pt.{os.getpid()}-0123abcd.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    copies.restore_checkpoint([run / "checkpoints" / "step-000010.pt"], tmp_path / "mine.pt")
    copies.restore_run(run, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "copy", "mine.pt", "runs"])
