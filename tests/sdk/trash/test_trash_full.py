"""The trash of an own run on a disk without a free byte, or without a free name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt.exceptions import OperationError
from ckpt.trash import Trash

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
SIZE = 1 << 20


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 8 MB and 40 names, three files of a megabyte in it."""
    place = tmp_path / "run"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=40", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted")
    try:
        for number in range(3):
            (place / f"{number}.pt").write_bytes(os.urandom(SIZE))
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(run: Path) -> Path:
    """Takes every byte."""
    data = run / "data.bin"
    with data.open("ab", buffering=0) as out:
        for size in (1 << 16, 4096, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue
    return data


def take_names(run: Path) -> list[Path]:
    """Takes every name."""
    made: list[Path] = []
    try:
        while True:
            path = run / f"log-{len(made)}"
            path.touch()
            made.append(path)
    except OSError:
        return made


def removed(trash: Trash, path: Path) -> str:
    entry = trash.remove([path], run="r", checkpoint={"id": path.name}, plan="p", reasons=(), keep_for_s=60.0)
    return entry.id


def test_a_removal_says_what_would_help_and_a_purge_needs_no_byte(run: Path) -> None:
    trash = Trash(run / ".trash")
    data = fill(run)
    with pytest.raises(OperationError) as caught:
        removed(trash, run / "0.pt")
    assert "free a few KB" in str(caught.value.hint)
    assert (run / "0.pt").stat().st_size == SIZE and trash.entries() == []
    os.truncate(data, data.stat().st_size - (128 << 10))
    gone = [removed(trash, run / "0.pt"), removed(trash, run / "1.pt")]
    fill(run)
    again = Trash(run / ".trash")
    assert sorted(entry.id for entry in again.entries()) == sorted(gone)
    assert [again.purge(entry) for entry in gone] == [SIZE, SIZE]
    assert again.entries() == [] and os.statvfs(run).f_bavail * os.statvfs(run).f_frsize >= SIZE


def test_without_a_free_name_it_is_the_same(run: Path) -> None:
    trash = Trash(run / ".trash")
    names = take_names(run)
    with pytest.raises(OperationError) as caught:
        removed(trash, run / "0.pt")
    assert "free a few KB" in str(caught.value.hint)
    assert (run / "0.pt").exists() and trash.entries() == []
    for path in names[:16]:
        path.unlink()
    gone = removed(trash, run / "0.pt")
    take_names(run)
    assert Trash(run / ".trash").purge(gone) == SIZE
