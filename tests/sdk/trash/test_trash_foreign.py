"""Whole directories of other trainers in the trash: identical when they come back, never moved when they changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import OperationError
from ckpt.trash import Place, Stamp, Trash, TrashEntry, placing, stamp_of, stamps

DAY = 86400.0
OLD_NS = 1_500_000_000_123_456_789


def mount(kind: str, target: Path, *options: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", kind, *options, kind, str(target)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")


@pytest.fixture(params=["disk", "tmpfs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A root on the usual disk and on one in memory."""
    if request.param == "disk":
        (tmp_path / "root").mkdir()
        yield tmp_path / "root"
        return
    mount("tmpfs", tmp_path / "root")
    yield tmp_path / "root"
    subprocess.run(["umount", "-l", str(tmp_path / "root")], check=True)


def checkpoint(root: Path, step: int = 100) -> Path:
    """A directory with all that can be in one: nested files, links of both kinds, modes, times to the nanosecond."""
    directory = root / "runs" / "exp" / f"checkpoint-{step}"
    (directory / "global_step" / "deep").mkdir(parents=True)
    (directory / "empty").mkdir()
    for number, name in enumerate(
        ("model.safetensors", "optimizer.pt", "global_step/deep/rank_0.pt", "trainer_state.json")
    ):
        (directory / name).write_bytes(os.urandom(2000 + number))
        os.utime(directory / name, ns=(OLD_NS + number, OLD_NS + 10 * number))
    os.link(directory / "model.safetensors", directory / "global_step" / "same.safetensors")
    (directory / "latest").symlink_to("global_step/deep")
    (directory / "dangling").symlink_to("/nowhere/\u2603")
    (directory / os.fsdecode(b"odd-\xff name\n")).write_bytes(b"odd")
    os.chmod(directory / "optimizer.pt", 0o440)
    os.chmod(directory / "global_step" / "deep", 0o550)
    for path in (directory / "global_step" / "deep", directory / "global_step", directory / "empty", directory):
        os.utime(path, ns=(OLD_NS, OLD_NS + 7))
    return directory


Picture = dict[str, tuple[Any, ...]]


def picture(top: Path) -> Picture:
    """All that can be told of a tree: names, inodes, modes, owners, links, times to the nanosecond, contents."""
    found: Picture = {}
    for path in [top, *sorted(top.rglob("*"))]:
        info = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        facts = (info.st_ino, info.st_mode, info.st_nlink, info.st_uid, info.st_gid, info.st_mtime_ns)
        found[str(path.relative_to(top))] = (*facts, content)
    return found


def place_of(root: Path) -> Place:
    place = placing.where(root, [])
    placing.make(place)
    return place


def remove(trash: Trash, *paths: Path, **options: Any) -> TrashEntry:
    settings: dict[str, Any] = {"run": "r", "checkpoint": {"id": "c"}, "plan": "p", "reasons": [], "keep_for_s": DAY}
    return trash.remove(list(paths), **{**settings, **options})


def test_a_directory_comes_back_identical(root: Path) -> None:
    directory = checkpoint(root)
    before, stamp = picture(directory), stamp_of(directory)
    assert stamp is not None
    trash = place_of(root).open()
    entry = remove(trash, directory, expected={str(directory): stamp})
    assert not os.path.lexists(directory)
    shelf = trash.directory / entry.id / "runs" / "exp" / "checkpoint-100"
    assert picture(shelf) == before and stamp_of(shelf) == stamp, "it is the same in the trash, not a copy"
    assert Trash(trash.directory, base=root).restore(entry.id) == [directory]
    assert picture(directory) == before and stamp_of(directory) == stamp
    assert [path.name for path in trash.directory.iterdir() if path.is_dir()] == []


def test_it_comes_back_to_directories_that_are_gone(root: Path) -> None:
    directory = checkpoint(root)
    before = picture(directory)
    entry = remove(place_of(root).open(), directory)
    shutil.rmtree(root / "runs")
    place_of(root).open().restore(entry.id)
    assert picture(directory) == before


@pytest.mark.parametrize("what", ["directory", "file", "link"])
def test_a_taken_name_leaves_everything_in_the_trash(root: Path, what: str) -> None:
    """Of two items the second one's name is taken: the first stays in the trash too."""
    first, second = checkpoint(root, 100), checkpoint(root, 200)
    trash = place_of(root).open()
    entry = remove(trash, first, second)
    shelf = picture(trash.directory / entry.id)
    if what == "directory":
        second.mkdir()
    elif what == "file":
        second.write_bytes(b"new")
    else:
        second.symlink_to("/nowhere")
    with pytest.raises(OperationError, match="is taken"):
        trash.restore(entry.id)
    assert picture(trash.directory / entry.id) == shelf and not first.exists()


def test_files_of_one_step_move_together(root: Path) -> None:
    """All are compared before the first rename, so a change of the last keeps the first where it was."""
    run = root / "runs"
    run.mkdir()
    paths = [run / f"step-5.{kind}.pt" for kind in ("model", "optim", "rng")]
    for path in paths:
        path.write_bytes(b"x" * 100)
    seen = {str(path): stamp_of(path) for path in paths}
    trash = place_of(root).open()
    os.utime(paths[2], ns=(OLD_NS, OLD_NS))
    with pytest.raises(OperationError, match="not what the plan saw"):
        remove(trash, *paths, expected=seen)
    assert all(path.exists() for path in paths) and trash.entries() == []
    entry = remove(trash, *paths, expected={str(path): stamp_of(path) for path in paths})
    assert not any(path.exists() for path in paths) and len(entry.items) == 3


Change = Callable[[Path], Any]


def rewritten(path: Path) -> None:
    info = path.stat()
    path.write_bytes(b"\0" * info.st_size)


def replaced(path: Path) -> None:
    """By another file of the same size and time."""
    info = path.stat()
    mode = path.parent.stat().st_mode
    path.parent.chmod(mode | stat.S_IWUSR)
    other = path.with_name("other")
    other.write_bytes(b"\0" * info.st_size)
    os.utime(other, ns=(info.st_atime_ns, info.st_mtime_ns))
    other.replace(path)
    path.parent.chmod(mode)


def copied(path: Path) -> None:
    path.rename(path.with_name("old"))
    shutil.copytree(path.with_name("old"), path, symlinks=True)


CHANGES: dict[str, Change] = {
    "a file written in place": lambda top: rewritten(top / "model.safetensors"),
    "a file replaced": lambda top: replaced(top / "global_step" / "deep" / "rank_0.pt"),
    "a file more": lambda top: (top / "global_step" / "new.pt").write_bytes(b""),
    "a file less": lambda top: (top / "optimizer.pt").unlink(),
    "a file renamed": lambda top: (top / "optimizer.pt").rename(top / "optim.pt"),
    "a file grown": lambda top: os.truncate(top / "trainer_state.json", 5000),
    "a link that leads elsewhere": lambda top: ((top / "latest").unlink(), (top / "latest").symlink_to("empty")),
    "a directory less": lambda top: (top / "empty").rmdir(),
    "a directory for a file": lambda top: ((top / "optimizer.pt").unlink(), (top / "optimizer.pt").mkdir()),
    "another directory in its place": copied,
    "nothing at all": lambda top: top.rename(top.with_name("old")),
    "a link to it in its place": lambda top: (top.rename(top.with_name("old")), top.symlink_to("old")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_since_the_plan_keeps_it(tmp_path: Path, change: str) -> None:
    directory = checkpoint(tmp_path)
    seen = {str(directory): stamp_of(directory)}
    CHANGES[change](directory)
    before = picture(tmp_path / "runs")
    trash = placing.where(tmp_path, []).open()
    with pytest.raises(OperationError):
        remove(trash, directory, expected=seen)
    assert picture(tmp_path / "runs") == before
    assert not (tmp_path / ".ckptd").exists(), "not even the trash is made"


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_right_before_the_rename_keeps_it(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = checkpoint(tmp_path)
    trash = place_of(tmp_path).open()
    describe = trash._moves.describe

    def changed(entry: TrashEntry) -> None:
        describe(entry)
        CHANGES[change](directory)

    monkeypatch.setattr(trash._moves, "describe", changed)
    with pytest.raises(OperationError, match="was not removed"):
        remove(trash, directory)
    assert os.path.lexists(directory) or change == "nothing at all"
    assert trash.entries() == [] and trash.recover() == []


def test_what_changes_during_the_rename_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write between the last comparison and the rename is found after it."""
    directory = checkpoint(tmp_path)
    trash = place_of(tmp_path).open()
    from ckpt.trash.folder import Folder

    move = Folder.move

    def late(self: Folder, name: str, target: Folder, new_name: str | None = None) -> None:
        if name == "checkpoint-100" and (directory / "model.safetensors").exists():
            rewritten(directory / "model.safetensors")
        move(self, name, target, new_name)

    monkeypatch.setattr(Folder, "move", late)
    with pytest.raises(OperationError, match="has changed since"):
        remove(trash, directory)
    assert (directory / "model.safetensors").read_bytes() == b"\0" * 2000
    assert trash.entries() == []


def test_a_component_swapped_for_a_link_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, precious = checkpoint(tmp_path / "root"), checkpoint(tmp_path / "elsewhere")
    before = picture(precious)
    run = directory.parent

    def swap() -> None:
        run.rename(run.with_name("moved"))
        run.symlink_to(precious.parent)

    seen = {str(directory): stamp_of(directory)}
    trash = place_of(tmp_path / "root").open()
    describe = trash._moves.describe
    monkeypatch.setattr(trash._moves, "describe", lambda entry: (describe(entry), swap()))
    with pytest.raises(OperationError):
        remove(trash, directory, expected=seen)
    with pytest.raises(OperationError, match="exp is a link or a file"):
        remove(trash, directory)
    assert picture(precious) == before and (run.with_name("moved") / "checkpoint-100").is_dir()
    assert trash.entries() == []


def test_a_stamp_is_the_same_until_something_changes(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path)
    stamp = stamp_of(directory)
    assert stamp is not None and stamp == stamp_of(str(directory))
    assert stamp.bytes == sum(
        path.lstat().st_size for path in directory.rglob("*") if not path.is_dir() or path.is_symlink()
    )
    for path in directory.rglob("*"):
        if path.is_file():
            path.read_bytes()
    list(os.scandir(directory))
    os.utime(directory, ns=(OLD_NS, OLD_NS))
    assert stamp_of(directory) == stamp, "reading it, and its own time, change nothing"


def test_what_cannot_be_compared_has_no_stamp_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = checkpoint(tmp_path)
    assert stamp_of(tmp_path / "gone") is None
    monkeypatch.setattr(stamps, "MOST_ENTRIES", 5)
    assert stamp_of(directory) is None
    with pytest.raises(OperationError, match="too many or too deep"):
        remove(placing.where(tmp_path, []).open(), directory)
    monkeypatch.undo()
    deep = directory.joinpath(*["d"] * (stamps.MOST_DEPTH + 1))
    deep.mkdir(parents=True)
    assert stamp_of(directory) is None
    assert directory.is_dir()


def test_stamps_of_files_that_were_not_asked_for_and_missing_ones(tmp_path: Path) -> None:
    first, second = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    expected: dict[str, Stamp | None] = {str(first): stamp_of(first)}
    trash = placing.where(tmp_path, []).open()
    with pytest.raises(OperationError, match="not what the plan saw"):
        remove(trash, first, second, expected=expected)
    with pytest.raises(OperationError, match="not what the plan saw"):
        remove(trash, first, expected={str(first): None})
    remove(trash, first, expected={**expected, str(second): None})
    assert second.is_dir() and not first.exists()


def test_a_file_inside_a_directory_that_goes_goes_with_it(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path)
    trash = place_of(tmp_path).open()
    entry = remove(trash, directory, directory / "model.safetensors", directory / "global_step")
    assert [item.name for item in entry.items] == ["runs/exp/checkpoint-100"]


def test_a_purge_frees_what_no_other_name_holds(root: Path) -> None:
    directory = checkpoint(root)
    kept = root / "kept.safetensors"
    os.link(directory / "optimizer.pt", kept)
    held = hashlib.sha256(kept.read_bytes()).hexdigest()
    link_bytes = sum(path.lstat().st_size for path in directory.rglob("*") if path.is_symlink())
    trash = place_of(root).open()
    entry = remove(trash, directory)
    # The model has two names in it and counts once, optimizer.pt has one outside and counts not at all.
    assert trash.purge(entry.id) == 2000 + 2002 + 2003 + 3 + link_bytes
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == held
    assert trash.entries() == [] and [path for path in trash.directory.iterdir() if path.is_dir()] == []


def test_a_root_that_was_moved_with_its_trash_restores_into_the_new_one(root: Path) -> None:
    inner = root / "data"
    directory = checkpoint(inner)
    before = picture(directory)
    entry = remove(place_of(inner).open(), directory)
    inner.rename(root / "moved")
    place_of(root / "moved").open().restore(entry.id)
    assert picture(root / "moved" / "runs" / "exp" / "checkpoint-100") == before
    assert not inner.exists()


@pytest.fixture
def few_files(tmp_path: Path) -> Iterator[Path]:
    """A file system on which the number of files runs out, at 60."""
    mount("tmpfs", tmp_path / "few", "-o", "nr_inodes=60,size=4m")
    yield tmp_path / "few"
    subprocess.run(["umount", "-l", str(tmp_path / "few")], check=True)


def exhaust(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    number = len(list(directory.iterdir()))
    while True:
        try:
            (directory / f"{number}").touch()
        except OSError:
            return
        number += 1


def test_without_a_free_inode_it_still_removes_restores_and_purges(few_files: Path) -> None:
    first, second = checkpoint(few_files, 1), checkpoint(few_files, 2)
    trash = place_of(few_files).open()
    entry = remove(trash, first)
    exhaust(few_files / "ballast")
    before = picture(second)
    other = remove(trash, second)
    exhaust(few_files / "ballast")
    trash.restore(other.id)
    assert picture(second) == before
    assert trash.purge(entry.id) > 0
    assert (trash.directory / "reserve").exists() and len(list(trash.directory.glob("reserve.*"))) == 7


def test_without_a_free_inode_at_the_first_removal_nothing_moves(few_files: Path) -> None:
    directory = checkpoint(few_files, 1)
    exhaust(few_files / "ballast")
    before = picture(directory)
    with pytest.raises(OperationError, match="No space left"):
        remove(placing.where(few_files, []).open(), directory)
    with pytest.raises(OperationError, match="No space left"):
        placing.make(placing.where(few_files, []))
    assert picture(directory) == before and not (few_files / ".ckptd").exists()


@pytest.mark.parametrize("protected", ["checkpoint", "run"])
def test_what_is_protected_against_changes_stays_and_is_told(tmp_path: Path, protected: str) -> None:
    directory = checkpoint(tmp_path)
    target = directory if protected == "checkpoint" else directory.parent
    if subprocess.run(["chattr", "+i", str(target)], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be protected here")
    try:
        before = picture(directory)
        trash = place_of(tmp_path).open()
        with pytest.raises(OperationError, match="Operation not permitted") as caught:
            remove(trash, directory)
        assert "lsattr" in str(caught.value.hint)
        assert picture(directory) == before and trash.entries() == []
    finally:
        subprocess.run(["chattr", "-i", str(target)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_file_system_that_became_read_only_is_told(root: Path) -> None:
    directory = checkpoint(root)
    place = place_of(root)
    gone = remove(place.open(), checkpoint(root, 200))
    subprocess.run(["mount", "--bind", str(root), str(root)], check=True)
    try:
        if subprocess.run(["mount", "-o", "remount,ro,bind", str(root)], capture_output=True, check=False).returncode:
            pytest.skip("nothing can be mounted here")
        before = picture(directory)
        for act in (
            lambda: remove(place.open(), directory),
            lambda: place.open().restore(gone.id),
            lambda: place.open().purge(gone.id),
        ):
            with pytest.raises(OperationError, match="Read-only file system"):
                act()
        assert picture(directory) == before
        assert [entry.id for entry in place.open().entries()] == [gone.id], "what lies there is told all the same"
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
    place.open().restore(gone.id)
