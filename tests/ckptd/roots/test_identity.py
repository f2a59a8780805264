"""Which directory a path leads to, now and after a reboot."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptd.roots.disks import Disks
from ckptd.roots.identity import Identity, renamed_to

KNOWN = Identity(device=1, inode=2, file_system=3, boot="a")


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"boot": "b"}, True),
        ({"device": 9}, True),
        ({"device": 9, "file_system": 8}, False),
        ({"inode": 9}, False),
        ({"inode": 9, "boot": "b"}, None),
        ({"device": 9, "file_system": 8, "boot": "b"}, None),
        ({"inode": 9, "boot": ""}, None),
    ],
)
def test_what_the_numbers_tell(changes: dict[str, object], same: bool | None) -> None:
    assert KNOWN.is_(KNOWN.evolve(**changes)) is same


def test_a_file_system_without_a_number_is_told_by_its_device() -> None:
    known = KNOWN.evolve(file_system=0)
    assert known.is_(known.evolve(device=9)) is False


def test_it_survives_its_json_and_refuses_any_other() -> None:
    assert Identity.parse(KNOWN.to_json()) == KNOWN
    for raw in (None, {}, {**KNOWN.to_json(), "inode": "2"}, {**KNOWN.to_json(), "device": True}):
        assert Identity.parse(raw) is None


def test_a_new_name_beside_the_old_one_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    known = Identity.of(str(tmp_path / "a"))
    assert renamed_to(str(tmp_path / "a"), known) is None
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert renamed_to(str(tmp_path / "a"), known) == str(tmp_path / "b")
    assert renamed_to(str(tmp_path / "gone" / "a"), known) is None


def test_a_disk_that_was_never_a_mount_point_now_is_missing(tmp_path: Path) -> None:
    point = str(tmp_path / "disk")
    disks = Disks({point: 1})
    assert disks.missing(f"{point}/run") == disks.missing(point) == point
    assert disks.missing(f"{point}2/run") is None
    disks.forget(str(tmp_path))
    assert disks.missing(f"{point}/run") is None
