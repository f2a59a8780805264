"""Where the trash of somebody else's directory lies, and whether it can lie there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt.exceptions import OperationError
from ckpt.scan import DEFAULT_EXCLUDES, find_runs, read_run
from ckpt.trash import Place, Trash, placing

DAY = 86400.0


def hf(run: Path, step: int) -> Path:
    """A checkpoint directory like those of a well-known trainer."""
    directory = run / f"checkpoint-{step}"
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(os.urandom(500))
    (directory / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    return directory


def remove(trash: Trash, path: Path) -> str:
    return trash.remove([path], run="r", checkpoint={}, plan="p", reasons=[], keep_for_s=DAY).id


def test_a_trash_lies_in_the_root_unless_checkpoints_lie_beside_it() -> None:
    inside = placing.where("/data/runs", ["/data/runs/exp/checkpoint-1", "/elsewhere/a.pt"])
    assert inside == Place(root="/data/runs", directory="/data/runs/.ckptd")
    assert (inside.trash, inside.owner) == (Path("/data/runs/.ckptd/trash"), Path("/data/runs/.ckptd/owner.json"))
    beside = placing.where("/data/runs/exp", ["/data/runs/exp/checkpoint-1", "/data/runs/exp/sub/model.pt"])
    assert beside == Place(root="/data/runs/exp", directory="/data/runs/.ckptd-exp")
    assert placing.where("/data/runs/", []) == inside


@pytest.mark.parametrize(
    ("root", "entries", "said"),
    [
        ("/runs/checkpoint-1", ["/runs/checkpoint-1"], "is a checkpoint itself"),
        ("/runs/checkpoint-1/global_step1", ["/runs/checkpoint-1"], "lies in one"),
        ("/runs/exp", ["/runs/exp/a.pt", "/runs/b.pt"], "both hold checkpoints"),
        ("/", ["/a.pt"], "both hold checkpoints"),
    ],
)
def test_no_place_in_or_beside_a_checkpoint(root: str, entries: list[str], said: str) -> None:
    with pytest.raises(OperationError, match=said) as caught:
        placing.where(root, entries)
    assert caught.value.hint is not None


def test_a_name_like_that_of_a_checkpoint_is_not_in_it() -> None:
    assert placing.where("/runs/checkpoint-10", ["/runs/x/checkpoint-1", "/runs/checkpoint-1/a"]).root


def test_the_longest_names_have_a_place_too(tmp_path: Path) -> None:
    root = tmp_path / ("r" * 255)
    root.mkdir()
    place = placing.where(root, [str(root / "a.pt")])
    assert len(os.path.basename(place.directory)) <= 255 and place.directory.startswith(str(tmp_path / ".ckptd-"))
    placing.make(place)
    assert placing.existing(root) == [place]


def test_a_place_is_private_and_nothing_of_the_probe_stays(tmp_path: Path) -> None:
    checkpoint = hf(tmp_path / "runs", 1)
    place = placing.where(tmp_path / "runs", [str(checkpoint)])
    before = (tmp_path / "runs").stat().st_mtime_ns, checkpoint.stat().st_mtime_ns
    placing.make(place)
    placing.make(place)
    assert ((tmp_path / "runs").stat().st_mtime_ns, checkpoint.stat().st_mtime_ns) == before
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["checkpoint-1"]
    assert list(Path(place.directory).rglob("*")) == [place.trash]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (Path(place.directory), place.trash)} == {0o700}


def test_looking_makes_nothing(tmp_path: Path) -> None:
    checkpoint = hf(tmp_path / "runs", 1)
    before = sorted(tmp_path.rglob("*"))
    place = placing.where(tmp_path / "runs", [str(checkpoint)])
    assert placing.obstacle(place, checkpoint) is None
    assert placing.existing(tmp_path / "runs") == []
    assert place.open().entries() == [] and place.open().recover() == []
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    place = placing.where(tmp_path, [])
    placing.make(place)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    probe = place.trash / f".probe-{child.pid}-0123abcd"
    owner = Path(place.directory) / f".owner.json.{child.pid}-0123abcd.tmp"
    reserve = place.trash / f".reserve.{child.pid}-0123abcd.tmp"
    probe.mkdir()
    for path in (owner, reserve):
        path.write_bytes(b"torn")
        os.utime(path, (1.0, 1.0))
    placing.make(place)
    assert place.open().recover() == []
    assert not any(path.exists() for path in (probe, owner, reserve))


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_name_that_is_taken_is_refused_and_left(tmp_path: Path, what: str) -> None:
    checkpoint = hf(tmp_path / "runs" / "exp", 1)
    place = placing.where(tmp_path / "runs", [str(checkpoint)])
    taken, elsewhere = Path(place.directory), tmp_path / "elsewhere"
    elsewhere.mkdir()
    taken.write_bytes(b"mine") if what == "file" else taken.symlink_to(elsewhere)
    with pytest.raises(OperationError, match="cannot hold the trash") as caught:
        placing.make(place)
    assert caught.value.hint is not None
    assert os.path.lexists(taken) and list(elsewhere.iterdir()) == [] and placing.existing(tmp_path / "runs") == []


def test_what_is_removed_beside_comes_back_to_a_root_that_was_moved(tmp_path: Path) -> None:
    root = tmp_path / "exp"
    checkpoints = [hf(root, step) for step in (1, 2)]
    content = {path.name: path.read_bytes() for path in checkpoints[0].iterdir()}
    place = placing.where(root, map(str, checkpoints))
    placing.make(place)
    remove(place.open(), checkpoints[0])
    assert sorted(path.name for path in root.iterdir()) == ["checkpoint-2"], "nothing lies beside the checkpoints"
    root.rename(tmp_path / "renamed")
    assert placing.existing(tmp_path / "renamed") == []
    (tmp_path / ".ckptd-exp").rename(tmp_path / ".ckptd-renamed")
    (moved,) = placing.existing(tmp_path / "renamed")
    (entry,) = moved.open().entries()
    assert entry.path == str(tmp_path / "renamed" / "checkpoint-1")
    moved.open().restore(entry.id)
    assert {p.name: p.read_bytes() for p in (tmp_path / "renamed" / "checkpoint-1").iterdir()} == content
    assert not root.exists()


def test_an_earlier_place_is_found_again(tmp_path: Path) -> None:
    """First its runs lay in directories, then checkpoints came to lie in the root itself."""
    root = tmp_path / "runs"
    first = hf(root / "exp", 1)
    inside = placing.where(root, [str(first)])
    placing.make(inside)
    remove(inside.open(), first)
    second = hf(root, 5)
    beside = placing.where(root, [str(second)])
    assert beside.directory != inside.directory
    placing.make(beside)
    remove(beside.open(), second)
    assert placing.existing(root) == [inside, beside]
    for place in placing.existing(root):
        (entry,) = place.open().entries()
        place.open().restore(entry.id)
    assert first.is_dir() and second.is_dir()


def test_a_trash_beside_a_root_takes_nothing_but_the_roots(tmp_path: Path) -> None:
    mine, other = hf(tmp_path / "exp", 1), hf(tmp_path / "other", 1)
    place = placing.where(tmp_path / "exp", [str(mine)])
    placing.make(place)
    with pytest.raises(Exception, match="is not below"):
        remove(place.open(), other)
    assert other.is_dir()


def test_no_trash_is_ever_listed(tmp_path: Path) -> None:
    """Also where the parent is watched too, and is a run itself with directories in it."""
    assert ".*" in DEFAULT_EXCLUDES
    root = tmp_path / "out" / "exp"
    checkpoints = [hf(root, step) for step in (1, 2, 3)]
    hf(tmp_path / "out", 7)
    place = placing.possible(root)[1]
    placing.make(place)
    for checkpoint in checkpoints[:2]:
        remove(place.open(), checkpoint)
    for top in (tmp_path, tmp_path / "out", root):
        found = [c.path for run in find_runs(top) if (view := read_run(run)) for c in view.checkpoints]
        assert found and not any(".ckptd" in path for path in found)
        assert str(checkpoints[2]) in found and not any(str(path) in found for path in checkpoints[:2])


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Path]:
    """`runs/disk`, a bind mount of another directory of the same file system; needs the right to mount."""
    source, target = tmp_path / "source", tmp_path / "runs" / "disk"
    source.mkdir()
    target.mkdir(parents=True)
    done = subprocess.run(["mount", "--bind", str(source), str(target)], capture_output=True, check=False)
    if sys.platform != "linux" or done.returncode:
        pytest.skip("nothing can be mounted here")
    yield target
    subprocess.run(["umount", "-l", str(target)], check=True)


def test_a_mount_below_the_root_is_told_and_the_rename_has_the_last_word(bound: Path) -> None:
    """The device number is the same on both sides of a bind mount, and a rename across it fails all the same."""
    apart, near = hf(bound / "exp", 1), hf(bound.parent / "near", 1)
    assert apart.stat().st_dev == near.stat().st_dev
    place = placing.where(bound.parent, [str(apart), str(near)])
    assert placing.obstacle(place, near) is None
    said = placing.obstacle(place, apart)
    assert said is not None and str(bound) in said and "cross file systems" in said
    placing.make(place)
    names = sorted(path.name for path in apart.iterdir())
    with pytest.raises(OperationError, match="was not removed") as caught:
        remove(place.open(), apart)
    assert caught.value.hint is not None and "file system" in caught.value.hint
    assert sorted(path.name for path in apart.iterdir()) == names and place.open().entries() == []


def test_a_root_that_is_a_mount_cannot_have_its_trash_beside_it(bound: Path) -> None:
    checkpoint = hf(bound, 1)
    place = placing.where(bound, [str(checkpoint)])
    assert place.directory == str(bound.parent / ".ckptd-disk")
    assert "cross file systems" in str(placing.obstacle(place, checkpoint))
    inside = placing.where(bound, [str(bound / "exp" / "checkpoint-1")])
    assert placing.obstacle(inside, hf(bound / "exp", 1)) is None


def test_a_checkpoint_with_a_mount_in_it_is_not_removed(bound: Path) -> None:
    (bound / "data").write_bytes(b"not of the checkpoint")
    place = placing.possible(bound.parent.parent)[0]
    assert "is mounted in it" in str(placing.obstacle(place, bound.parent))


def test_a_read_only_file_system_is_told(bound: Path) -> None:
    checkpoint = hf(bound / "exp", 1)
    place = placing.where(bound, [str(checkpoint)])
    subprocess.run(["mount", "-o", "remount,ro,bind", str(bound)], check=True)
    assert "read-only" in str(placing.obstacle(place, checkpoint))
    with pytest.raises(OperationError, match="Read-only file system"):
        placing.make(place)


AS_NOBODY = """
import os, sys
sys.path[:0] = sys.argv[2].split(":")
import fcntl
from pathlib import Path
from ckpt.exceptions import OperationError
from ckpt.trash import placing
root = Path(sys.argv[1])
place = placing.where(root, [str(root / "exp" / "checkpoint-1")])
os.setgid(65534)
os.setuid(65534)
print(placing.obstacle(place, root / "exp" / "checkpoint-1"))
try:
    placing.make(place)
except OperationError as error:
    print(error.message)
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="changes the user")
def test_a_directory_of_another_user_is_told(tmp_path: Path) -> None:
    hf(tmp_path / "runs" / "exp", 1)
    for part in (tmp_path, *tmp_path.parents[:3]):
        if part.stat().st_uid == 0 and part != Path("/tmp"):
            os.chmod(part, part.stat().st_mode | 0o055)
    command = [sys.executable, "-I", "-c", AS_NOBODY, str(tmp_path / "runs"), ":".join(p for p in sys.path if p)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("this user may not change") and "Permission denied" in second
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["exp"]
