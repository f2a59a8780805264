"""Whether another process has a file open or mapped now, so that nobody's checkpoint goes while it is read.

A write lease says so within microseconds: the kernel gives it only while nobody else has the file open, and it is given
up again at once. Where leases are not to be had, the open files of all processes are looked through.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import sys
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import OperationError

MOST_FILES = 200_000
"""Files of one directory that are asked about."""
_NAMED = 3  # processes that are told
_PROC = Path("/proc")

_Key = tuple[int, int]  # device, inode


def open_elsewhere(path: str | Path) -> str | None:
    """Who has a file, or any regular file in a directory, open or mapped: `python (pid 4711)`. None when nobody has.

    Descriptors of this process do not count; symbolic links are not followed. Raises OperationError when it cannot be
    told, which is not the same as free: a file of another user, processes of this one that hide what they have open
    where leases do not work, too many files, not Linux. A process that opens one of the files at this very moment is
    delayed by microseconds.
    """
    asked = _ask(os.fspath(path))
    return _told(asked, _holders(asked.keys)) if asked.keys else None


def all_open_elsewhere(paths: Iterable[str]) -> dict[str, str]:
    """Path to who has it open, of those of which `open_elsewhere` would tell; the processes are looked through once.

    What cannot be told is not among them.
    """
    doubtful: list[_Asked] = []
    for path in paths:
        with contextlib.suppress(OperationError):
            asked = _ask(path)
            if asked.keys:
                doubtful.append(asked)
    holders = _holders(set().union(*(asked.keys for asked in doubtful))) if doubtful else _Holders()
    found: dict[str, str] = {}
    for asked in doubtful:
        with contextlib.suppress(OperationError):
            user = _told(asked, holders)
            if user is not None:
                found[asked.path] = user
    return found


@dataclass
class _Asked:
    """What leases tell of the files of one path: those that are open, and those of which they tell nothing."""

    path: str
    busy: dict[_Key, str] = field(default_factory=dict)
    unknown: dict[_Key, str] = field(default_factory=dict)
    why: str = ""

    @property
    def keys(self) -> Set[_Key]:
        return self.busy.keys() | self.unknown.keys()


@dataclass
class _Holders:
    """What the open files of all processes tell."""

    others: list[tuple[str, Set[_Key]]] = field(default_factory=list)
    """Other processes that have one of the files."""
    own: Set[_Key] = frozenset()
    saw_all: bool = True
    """Whether all processes of this user were seen."""


def _ask(path: str) -> _Asked:
    """Raises OperationError where the files cannot be listed."""
    asked = _Asked(path)
    for number, file in enumerate(_regular_files(path)):
        if number >= MOST_FILES:
            raise _cannot_tell(path, f"it has more than {MOST_FILES} files")
        try:
            key, is_free = _lease(file)
            if not is_free:
                asked.busy[key] = file
        except FileNotFoundError:
            continue
        except OSError as error:
            asked.why = error.strerror or str(error)
            with contextlib.suppress(FileNotFoundError):
                asked.unknown[_key(file)] = file
    return asked


def _told(asked: _Asked, holders: _Holders) -> str | None:
    """Who has one of the files open. Raises OperationError when that cannot be told."""
    names = [name for name, files in holders.others if not files.isdisjoint(asked.keys)]
    if names:
        return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    if not all(_is_free_now(file) for key, file in asked.busy.items() if key not in holders.own):
        return "a process that cannot be seen from here"
    if asked.unknown and not (holders.saw_all and all(map(_is_mine, asked.unknown.values()))):
        raise _cannot_tell(asked.path, asked.why)
    return None


def _is_mine(file: str) -> bool:
    try:
        return os.lstat(file).st_uid == os.geteuid()
    except FileNotFoundError:
        return True


def _is_free_now(file: str) -> bool:
    """Whether who had it open has closed it meanwhile, or it is gone."""
    try:
        return _lease(file)[1]
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _lease(file: str) -> tuple[_Key, bool]:
    """The file's identity, and whether nobody has it open. Raises OSError where leases do not work."""
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOTSUP, "leases are known on Linux only")
    import fcntl

    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except BlockingIOError:
        return _key(file), False  # another holds a lease
    try:
        info = os.fstat(fd)
        key = (info.st_dev, info.st_ino)
        # Whoever opens the file meanwhile signals us: by one that does nothing unless asked to, where SIGIO would kill.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except BlockingIOError:
            return key, False
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return key, True
    finally:
        os.close(fd)


def _holders(asked: Set[_Key]) -> _Holders:
    """Looks through the open and mapped files of all processes that can be seen."""
    holders = _Holders()
    try:
        numbers = sorted(int(name) for name in os.listdir(_PROC) if name.isdigit())
    except OSError:
        return _Holders(saw_all=False)
    for pid in numbers:
        found: set[_Key] = set()
        try:
            found.update(asked & set(_open_files(pid)))
            found.update(asked & set(_mapped_files(pid)))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
        except OSError:
            holders.saw_all = holders.saw_all and not _is_mine(str(_PROC / str(pid)))
        if pid == os.getpid():
            holders.own = found
        elif found:
            holders.others.append((f"{_program(pid)} (pid {pid})", found))
    return holders


def _open_files(pid: int) -> Iterator[_Key]:
    place = _PROC / str(pid) / "fd"
    for name in os.listdir(place):
        try:
            info = os.stat(place / name)
        except FileNotFoundError:
            continue
        yield info.st_dev, info.st_ino


def _mapped_files(pid: int) -> Iterator[_Key]:
    with open(_PROC / str(pid) / "maps", "rb") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            if len(fields) > 5 and fields[4] != b"0":
                major, minor = fields[3].split(b":")
                yield os.makedev(int(major, 16), int(minor, 16)), int(fields[4])


def _program(pid: int) -> str:
    try:
        return printable((_PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return "a process"


def _regular_files(path: str) -> Iterator[str]:
    """The file itself, or all regular files in a directory; what is gone or no file is passed over."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISREG(mode):
        yield path
    if not stat.S_ISDIR(mode):
        return
    waiting = [path]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield entry.path
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _cannot_tell(path, error.strerror or str(error)) from error


def _key(file: str) -> _Key:
    info = os.lstat(file)
    return info.st_dev, info.st_ino


def _cannot_tell(path: str | Path, why: str) -> OperationError:
    return OperationError(f"whether {printable(os.fspath(path))} is in use cannot be told: {why}")
