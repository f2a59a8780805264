"""How much memory may still be taken before the system, or a limit on this process, kills somebody for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def available(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Bytes that can be had without pushing anybody out: the machine's, or the least that a control group leaves.

    None where the system does not tell.
    """
    found = [
        left
        for left in (_machine(proc / "meminfo"), *map(_group_left, _groups(proc / "self" / "cgroup", cgroups)))
        if left is not None
    ]
    return min(found, default=None)


def _machine(meminfo: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return None


def _groups(own: Path, cgroups: Path) -> Iterator[Path]:
    """The control groups that count this process's memory, with all above them.

    Inside a container the path may be the host's, of which only the top is mounted: what is missing is passed over.
    """
    with contextlib.suppress(OSError):
        for line in own.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top = cgroups / "memory" if controllers else cgroups
            inner = PurePosixPath(path.lstrip("/"))
            for group in (inner, *inner.parents):
                if (top / group).is_dir():
                    yield top / group


def _group_left(group: Path) -> int | None:
    """What one group leaves: its limit less what is used and cannot be dropped. None without a limit."""
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):
            # `max` is no number: no limit.
            most, used = int((group / limit).read_text("utf-8")), int((group / usage).read_text("utf-8"))
            return max(0, most - used + _statistic(group / "memory.stat", cache))
    return None


def _statistic(path: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text("utf-8").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
