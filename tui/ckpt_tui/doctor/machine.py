"""The machine as it is: places, kernel limits, disks, clocks. Reads, and writes one nameless file in our own state."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from ckpt import mounts, paths
from ckpt.exceptions import CkptError
from ckpt_tui.doctor.facts import Disk, Inotify, Place, RootSeen

_LIMITS = Path("/proc/sys/fs/inotify")
_NAMESPACE_LIMITS = Path("/proc/sys/user")
"""Limits of this user namespace; a container may have lower ones than the machine."""
_LOOKED_S = 1.0  # for open files of other processes


def user() -> int | None:
    """The user id; None on systems without."""
    return os.getuid() if hasattr(os, "getuid") else None


def places() -> tuple[Place, ...]:
    """Where config, state, runtime directory and socket are or would be."""
    asked: tuple[tuple[Literal["config", "state", "runtime", "socket"], Callable[[], Path]], ...] = (
        ("config", paths.config_home),
        ("state", lambda: paths.StatePaths.here().directory),
        ("runtime", paths.runtime_dir),
        ("socket", paths.socket_path),
    )
    found = []
    for name, ask in asked:
        try:
            found.append(_place(name, ask()))
        except CkptError as error:
            found.append(Place(name, problem=error.message, hint=error.hint))
        except OSError as error:
            found.append(Place(name, problem=f"{error.filename or 'it'}: {error.strerror or error}"))
    return tuple(found)


def _place(name: Literal["config", "state", "runtime", "socket"], path: Path) -> Place:
    nearest = path
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    exists = nearest == path
    info = path.stat() if exists else None
    directory = nearest.parent if name == "socket" and exists else nearest
    return Place(
        name,
        str(path),
        exists=exists,
        nearest=str(directory),
        nearest_is_directory=directory.is_dir(),
        readable=os.access(nearest, os.R_OK if name == "socket" and exists else os.R_OK | os.X_OK),
        writable=os.access(directory, os.W_OK | os.X_OK),
        owner=info.st_uid if info else None,
        mode=stat.S_IMODE(info.st_mode) if info else None,
        file_system=mounts.unreliable(str(directory)),
    )


def inotify() -> Inotify | None:
    """The limits of the kernel; None where it watches in another way."""
    if not _LIMITS.is_dir():
        return None
    return Inotify(
        max_watches=_lower(_LIMITS / "max_user_watches", _NAMESPACE_LIMITS / "max_inotify_watches"),
        max_instances=_lower(_LIMITS / "max_user_instances", _NAMESPACE_LIMITS / "max_inotify_instances"),
        max_events=_number(_LIMITS / "max_queued_events"),
        instances=_instances(),
    )


def _lower(*limits: Path) -> int | None:
    return min((number for path in limits if (number := _number(path)) is not None), default=None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _instances() -> int | None:
    """How many inotify instances processes of this user hold."""
    mine, count = os.getuid(), 0
    deadline = time.monotonic() + _LOOKED_S
    for process in Path("/proc").glob("[0-9]*"):
        if time.monotonic() > deadline:
            return None
        with contextlib.suppress(OSError):
            if process.stat().st_uid != mine:
                continue
            for descriptor in os.listdir(process / "fd"):
                with contextlib.suppress(OSError):
                    count += os.readlink(process / "fd" / descriptor) == "anon_inode:inotify"
    return count


def clock_of(directory: Path) -> float | None:
    """Seconds that the file system of an existing directory is ahead of our clock; None when it cannot be tried."""
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        return None
    with tempfile.TemporaryFile(dir=directory, prefix=".clock-") as stream:
        before = time.time()
        stream.write(b"\n")
        stream.flush()
        written = os.fstat(stream.fileno()).st_mtime
        after = time.time()
    if before <= written <= after:
        return 0.0
    return written - (before if written < before else after)


class DiskSeen(NamedTuple):
    """A file system by its device, and how full it is."""

    device: int
    disk: Disk


def disk_of(path: str) -> DiskSeen:
    """The file system of the nearest existing path. Raises OSError."""
    there = Path(path)
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    info = os.statvfs(there)
    disk = Disk(
        (path,),
        free_bytes=info.f_bavail * info.f_frsize,
        total_bytes=info.f_blocks * info.f_frsize,
        free_files=info.f_favail,
        total_files=info.f_files,
    )
    return DiskSeen(os.stat(there).st_dev, disk)


def by_device(seen: Mapping[str, DiskSeen | Exception]) -> tuple[Disk, ...]:
    """Each file system once, with all paths that asked for it."""
    disks: dict[int, list[Disk]] = {}
    broken = []
    for path, one in seen.items():
        if isinstance(one, Exception):
            broken.append(Disk((path,), problem=getattr(one, "strerror", None) or str(one)))
        else:
            disks.setdefault(one.device, []).append(one.disk)
    joined = [
        Disk(
            tuple(path for disk in group for path in disk.paths),
            free_bytes=group[0].free_bytes,
            total_bytes=group[0].total_bytes,
            free_files=group[0].free_files,
            total_files=group[0].total_files,
        )
        for group in disks.values()
    ]
    return (*joined, *broken)


def look_at_root(path: str) -> RootSeen:
    """Whether a watched directory can be reached and read from here."""
    try:
        with os.scandir(path) as entries:
            next(entries, None)
    except OSError as error:
        return RootSeen(path, problem=error.strerror or str(error))
    return RootSeen(path, file_system=mounts.unreliable(path))
