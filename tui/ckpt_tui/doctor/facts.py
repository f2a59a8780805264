"""What `ckpt doctor` looked at: plain frozen facts, from which the checks decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Place:
    """A directory of ours (or the socket), and how far the way to it exists."""

    name: Literal["config", "state", "runtime", "socket"]
    path: str = ""
    problem: str | None = None
    """Why the place itself cannot be told; then nothing else is set."""
    hint: str | None = None
    exists: bool = False
    nearest: str = ""
    """The nearest existing path on the way to it."""
    nearest_is_directory: bool = True
    readable: bool = True
    writable: bool = True
    owner: int | None = None
    """User id; None while the place does not exist."""
    mode: int | None = None
    """Permission bits; None while the place does not exist."""
    file_system: str | None = None
    """Type of the network file system that it lies on; None for a local one."""


@dataclass(frozen=True)
class ConfigFile:
    """What `ckptd config check` says."""

    path: str
    exists: bool = False
    problem: str | None = None
    hint: str | None = None
    warnings: tuple[str, ...] = ()
    other: str | None = None
    """The file that the running daemon reads instead."""
    waiting: tuple[str, ...] = ()
    """What the running daemon would change if it took the file now."""
    roots: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Inotify:
    """The kernel's limits for watching, and what this user's processes hold of them."""

    max_watches: int | None = None
    max_instances: int | None = None
    max_events: int | None = None
    instances: int | None = None
    """In use by processes of this user that can be looked at."""


@dataclass(frozen=True)
class Disk:
    """One file system that holds something of ours; None where it was not told."""

    paths: tuple[str, ...]
    problem: str | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    free_files: int | None = None
    total_files: int | None = None
    """Inodes; 0 where the file system has no fixed number of them."""


@dataclass(frozen=True)
class RootSeen:
    """A watched directory as this process finds it."""

    path: str
    problem: str | None = None
    file_system: str | None = None
    in_config: bool = False
    """Whether config.toml names it."""


@dataclass(frozen=True)
class Facts:
    """All that was found. Times are Unix seconds."""

    now: float
    installed_at: float
    """Modification time of this program's own file."""
    version: str | None
    protocol: int
    user: int | None
    versions: Mapping[str, str | None]
    autostart: str | None
    """Why no daemon may be started from here; None when it may."""
    places: tuple[Place, ...]
    config: ConfigFile | None
    inotify: Inotify | None
    """None where the kernel has none."""
    state_clock: float | None
    """Time that the state directory's file system gave to a new file, minus ours; None when it was not tried."""
    disks: tuple[Disk, ...]
    roots: tuple[RootSeen, ...]
    note: Mapping[str, Any] | None
    """What the lock file says of the daemon that holds it."""
    crashed: Mapping[str, Any] | None
    """What the lock file says of a daemon that holds it no more, and whose socket is still there."""
    status: Mapping[str, Any] | None
    asked_at: float | None
    """When the daemon answered."""
    status_problem: str | None
    moved_aside: tuple[str, ...] = ()
    roots_problem: str | None = None
    start_log: str | None = None
    """The last line that a failed start left behind."""

    @property
    def daemon(self) -> Mapping[str, Any]:
        """The daemon's part of its status; {} without an answer."""
        return (self.status or {}).get("daemon") or {}

    @property
    def told_roots(self) -> tuple[Mapping[str, Any], ...]:
        """The roots as the daemon tells them."""
        return tuple((self.status or {}).get("roots") or ())
