from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt import pointers


def test_a_pointer_is_a_relative_link_that_moves_with_its_directory(tmp_path: Path) -> None:
    base = tmp_path / "run"
    base.mkdir()
    (base / "a.pt").write_bytes(b"a")
    pointers.swap(base / "latest.pt", base / "a.pt")
    assert os.readlink(base / "latest.pt") == "a.pt"
    base.rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "latest.pt").read_bytes() == b"a"


def test_swapping_changes_the_pointer_and_never_a_target(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    pointers.swap(tmp_path / "p", tmp_path / "a")
    pointers.swap(tmp_path / "p", tmp_path / "b")
    assert [(tmp_path / name).read_bytes() for name in ("a", "b", "p")] == [b"a", b"b", b"b"]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("refused", [("symlink",), ("symlink", "link")])
def test_without_links_a_hard_link_or_a_copy_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...]
) -> None:
    real_link = os.link

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(1, "not permitted")

    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    for name in refused:
        monkeypatch.setattr(os, name, refuse)
    pointers.swap(tmp_path / "p", tmp_path / "a")
    assert not (tmp_path / "p").is_symlink()
    assert pointers.points_at(tmp_path / "p", tmp_path / "a") is ("link" not in refused)
    pointers.swap(tmp_path / "p", tmp_path / "b")
    assert (tmp_path / "p").read_bytes() == b"b"
    assert (tmp_path / "a").read_bytes() == b"a"
    assert real_link is not None


def test_a_hard_link_of_the_same_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    os.link(tmp_path / "a", tmp_path / "p")
    pointers.swap(tmp_path / "p", tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "p"]


def test_a_missing_target_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    pointers.swap(tmp_path / "p", tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        pointers.swap(tmp_path / "p", tmp_path / "gone")
    assert (tmp_path / "p").read_bytes() == b"a"


def test_drop_removes_the_name_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    pointers.swap(tmp_path / "p", tmp_path / "a")
    pointers.drop(tmp_path / "p")
    pointers.drop(tmp_path / "p")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
