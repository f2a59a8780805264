from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt.mounts import file_system, mounted_below, tells_nothing, unreliable

TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:33 / /data rw,relatime shared:2 master:1 - ext4 /dev/vdb rw
41 40 0:34 / /data/team rw,relatime - nfs4 server:/team rw,vers=4.2
42 27 0:35 / /mnt/my\040disk\134x rw - fuse.sshfs me@host:/x rw
43 27 0:36 / /twice rw - nfs a:/x rw
44 43 0:37 / /twice rw - xfs /dev/vdc rw
45 27 0:38 /sub /var/lib rw - overlay overlay rw
a line of another kind
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/datas", "ext4"),
        ("/data/x", "ext4"),
        ("/data/team", "nfs4"),
        ("/data/team/a/b", "nfs4"),
        ("/data/teams", "ext4"),
        ("/mnt/my disk\\x/run", "fuse.sshfs"),
        ("/twice/x", "xfs"),
        ("/var/lib/x", "overlay"),
        ("/proc/1", "proc"),
    ],
)
def test_the_longest_and_last_mount_holds_a_path(path: str, kind: str) -> None:
    assert file_system(TABLE, path) == kind


def test_mounts_below_directories_are_told_apart() -> None:
    assert mounted_below(TABLE, ["/data"]) == {("40", "/data"), ("41", "/data/team")}
    assert mounted_below(TABLE, ["/twice", "/data/te"]) == {("43", "/twice"), ("44", "/twice")}
    assert mounted_below("", ["/"]) == frozenset()


def test_where_nothing_is_mounted_no_type_is_known() -> None:
    assert file_system("", "/x") is None
    assert file_system("40 27 0:33 / /data rw - ext4 /dev/vdb rw\n", "/other") is None


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "9p", "ceph", "virtiofs", "beegfs", "fuse", "fuse.sshfs"]
)
def test_what_others_write_too_is_not_told_by_events(kind: str) -> None:
    assert tells_nothing(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "f2fs", "fuse.fuse-overlayfs"]
)
def test_local_types_are_told_by_events(kind: str) -> None:
    assert not tells_nothing(kind)


def test_a_local_directory_and_one_that_does_not_exist_are_reliable(tmp_path: Path) -> None:
    assert unreliable(str(tmp_path)) is None
    assert unreliable(str(tmp_path / "not" / "there")) is None


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="mounts need root on Linux")
def test_a_mount_made_now_is_known_by_its_type_through_a_link(tmp_path: Path) -> None:
    place, link = tmp_path / "my disk", tmp_path / "link"
    place.mkdir()
    link.symlink_to(place)
    table = Path("/proc/self/mountinfo").read_text
    done = subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this container may not mount")
    try:
        assert file_system(table(), os.path.realpath(link)) == "tmpfs"
        assert unreliable(str(link)) is None
    finally:
        subprocess.run(["umount", str(place)], check=True)
