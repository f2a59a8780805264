"""The file system that a path lies on, and whether changes on it are told by events."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ckpt.paths import is_inside

NETWORK = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "exafs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "prl_fs",
        "pvfs2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "vmhgfs",
        "wekafs",
    }
)
"""Types whose files other machines, or the host of a virtual one, write too: the kernel here tells nothing of that.

Every type in user space (`fuse`, `fuse.sshfs`, …) counts as one of them, since what serves it may change it by itself;
except those of `LOCAL_FUSE`.
"""
LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.bindfs"})
"""Types in user space over local directories, written through the mount: the root of a rootless container, for one."""


def unreliable(path: str) -> str | None:
    """The type of a path's file system when its changes are not told by events; None for a local or unknown one."""
    kind = file_system(mount_table(), os.path.realpath(path))
    return kind if kind is not None and tells_nothing(kind) else None


def mount_table() -> str:
    """The text of /proc/self/mountinfo; empty where the system has none."""
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def tells_nothing(kind: str) -> bool:
    """Whether a file system of this type changes without events on this machine."""
    if kind == "fuse" or kind.startswith("fuse."):
        return kind not in LOCAL_FUSE
    return kind in NETWORK


def file_system(table: str, path: str) -> str | None:
    """The type of the file system that holds an absolute path without symbolic links; None when none does.

    `table` is the text of /proc/self/mountinfo. Of mounts in one place the last one is seen.
    """
    best, kind = -1, None
    for _, point, found in _mounts(table):
        if len(point) >= best and is_inside(path, point):
            best, kind = len(point), found
    return kind


def point_of(path: str) -> str:
    """Where the file system is mounted that a path lies on; `/` where nothing nearer is."""
    place = os.path.realpath(path)
    while not os.path.ismount(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return place


def mounted_below(table: str, directories: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Number and place of each mount at or below one of the directories. No event tells when that changes."""
    places = tuple(directories)
    return frozenset(
        (number, point) for number, point, _ in _mounts(table) if any(is_inside(point, place) for place in places)
    )


def mount_points(table: str) -> frozenset[str] | None:
    """All places where something is mounted, bind mounts of the same file system included; None for an empty table."""
    return frozenset(point for _, point, _ in _mounts(table)) if table else None


def _mounts(table: str) -> Iterator[tuple[str, str, str]]:
    """Number, place and type of each mount."""
    for line in table.splitlines():
        mount, found, source = line.partition(" - ")
        fields = mount.split(" ")
        if found and len(fields) >= 5:
            yield fields[0], _unescaped(fields[4]), source.split(" ")[0]


def _unescaped(field: str) -> str:
    """Space, tab, newline and backslash are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
