"""Acts on files that must not go half way: atomic writes, appends, locks, copies, hashes.

Order of an atomic write: temporary name in the same directory, write, fsync, rename, fsync of the directory.
Whoever reads the final name sees all of the old or all of the new. Errors are plain OSError.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import shutil
import stat
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ckpt import encoding
from ckpt.exceptions import LockedError
from ckpt.paths import TEMPORARY

COPY_CHUNK = 8 << 20  # bytes
LINE_MAX = 16 << 20  # bytes of a line that is read; a longer one is passed over
_FICLONE = 0x40049409  # ioctl of ext-family, xfs and btrfs that shares the blocks of a file

Progress = Callable[[int], None]
"""Called with the number of bytes done since the last call."""


def temporary_name(path: Path, owner: int | None = None) -> Path:
    """A fresh name beside `path` that says whose it is: a process, this one by default."""
    return path.with_name(f".{path.name[:180]}.{owner or os.getpid()}-{secrets.token_hex(4)}.tmp")


def fsync_directory(directory: Path) -> None:
    """Makes renames in a directory durable; nothing where the platform has no such call."""
    if sys.platform == "win32":
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path) -> None:
    """Makes a directory, and those above it that are missing, durably; one that is there stays. Raises OSError."""
    made = list(itertools.takewhile(lambda path: not path.exists(), (directory, *directory.parents)))
    directory.mkdir(parents=True, exist_ok=True)
    for path in made:
        # Where one may make names and not list them, the parent cannot be opened.
        with contextlib.suppress(PermissionError):
            fsync_directory(path.parent)


def publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Gives a finished temporary file its final name and makes that durable.

    Raises FileExistsError when `overwrite` is false and the name is taken; the temporary file then stays.
    """
    if overwrite:
        os.replace(temporary, path)
    else:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: exclusive creation reserves the name, rename fills it.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            try:
                os.replace(temporary, path)
            except BaseException:
                os.unlink(path)
                raise
        else:
            os.unlink(temporary)
    fsync_directory(path.parent)


def atomic_write(
    path: Path, content: bytes | Callable[[IO[bytes]], None], *, overwrite: bool = True, mode: int = 0o666
) -> None:
    """Writes a file whole or not at all. `content` is the bytes, or a function that writes them.

    On any failure the temporary file is removed and the old content stays. Raises OSError, FileExistsError when
    `overwrite` is false and the name is taken, and whatever `content` raises.
    """
    temporary = temporary_name(path)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
    try:
        with os.fdopen(fd, "wb") as stream:
            if callable(content):
                content(stream)
            else:
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        publish(temporary, path, overwrite=overwrite)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_json(path: Path, value: Any, *, overwrite: bool = True, indent: int = 2, mode: int = 0o666) -> None:
    """Writes plain data as JSON, atomically, under the project's rules for numbers."""
    atomic_write(path, encoding.dumps(value, indent=indent) + b"\n", overwrite=overwrite, mode=mode)


def _open_regular(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """Opens a regular file. Raises OSError for anything else: on a pipe or device a reader might wait for ever."""
    fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0), mode)
    try:
        kind = os.fstat(fd).st_mode
        if not stat.S_ISREG(kind):
            raise OSError(errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL, "not a regular file", str(path))
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_json(path: Path, *, limit: int = 64 << 20) -> Any:
    """A JSON file as plain data. Raises OSError, and ValueError when it is not JSON or above `limit` bytes."""
    with open(path, "rb", opener=_open_regular) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    return encoding.loads(data)


class Appender:
    """A file that only grows, a line at a time; each line is one write, so writers do not mix.

    A torn last line that a crash left is closed with a newline first, so it spoils nothing but itself.
    """

    def __init__(self, path: Path, *, mode: int = 0o666) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = _open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
        self._is_torn = False
        size = os.fstat(self._fd).st_size
        if size:
            os.lseek(self._fd, size - 1, os.SEEK_SET)
            self._is_torn = os.read(self._fd, 1) != b"\n"

    def append(self, line: bytes, *, sync: bool = False) -> None:
        """Adds one line (without its newline). Raises OSError; a short write is an error too."""
        data = (b"\n" if self._is_torn else b"") + line + b"\n"
        written = os.write(self._fd, data)
        if written != len(data):
            self._is_torn = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._is_torn = False
        if sync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Closes the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def append_json(path: Path, value: Any, *, sync: bool = True, mode: int = 0o666) -> None:
    """Adds one JSON object as a line, durable unless `sync` is false."""
    with Appender(path, mode=mode) as appender:
        appender.append(encoding.dumps(value), sync=sync)


def read_json_lines(path: Path, *, offset: int = 0, limit: int | None = None) -> Iterator[Any]:
    """The objects of a JSON-lines file from a byte offset; lines that are torn, too long or not JSON are skipped.

    A missing file has no lines. Raises OSError, also for a file above `limit` bytes.
    """
    try:
        stream = open(path, "rb", opener=_open_regular)  # noqa: SIM115
    except FileNotFoundError:
        return
    with stream:
        if limit is not None and os.fstat(stream.fileno()).st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
        stream.seek(offset)
        is_rest = False
        while line := stream.readline(LINE_MAX):
            was_rest, is_rest = is_rest, not line.endswith(b"\n")
            if was_rest or (len(line) == LINE_MAX and is_rest):
                continue
            try:
                yield encoding.loads(line)
            except ValueError:
                continue


class FileLock:
    """An advisory lock for the life of a process: flock, never a pid file, so a crash leaves none behind.

    The file says who holds it (`note`), is opened close-on-exec, and is never unlinked. A forked child does not hold
    it: workers that outlive a training would keep its run locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        _locks.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    @property
    def held_beside(self) -> bool:
        """Whether another object of this process holds the lock."""
        with contextlib.suppress(OSError):
            there = os.stat(self.path)
            others = [lock._fd for lock in _locks if lock is not self and lock._fd is not None]
            return any(os.path.samestat(os.fstat(fd), there) for fd in others)
        return False

    @property
    def fd(self) -> int | None:
        """The open file that the lock is on: a process that is given it holds the lock too. None when not held."""
        return self._fd

    def acquire(self, note: Any = None, *, wait_s: float = 0.25) -> None:
        """Takes the lock, and writes `note` into the file. Waits a moment, because `is_free` holds it for microseconds.

        Raises LockedError, with the holder's own note as hint, when another holds it for longer than `wait_s`.
        """
        if self._fd is not None:
            return
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        fd = os.open(self.path, flags, 0o644)
        try:
            deadline = time.monotonic() + wait_s
            while not _try_lock(fd):
                if time.monotonic() >= deadline and not _is_only_looked_at(fd):
                    holder = self.holder()
                    who = f"by process {holder['pid']}" if holder.get("pid") else "by another process"
                    on = f" on {holder['host']}" if holder.get("host") else ""
                    raise LockedError(f"{self.path} is held {who}{on}")
                time.sleep(0.02)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        if note is not None:
            data = encoding.dumps(note)
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, data)

    def release(self) -> None:
        """Gives the lock up; may be called twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def holder(self) -> dict[str, Any]:
        """What the holder wrote about itself; {} when nothing readable is there."""
        try:
            value = read_json(self.path, limit=65536)
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def is_free(self) -> bool:
        """Whether nobody holds the lock now; a missing file is free. Creates nothing."""
        if self._fd is not None:
            return False
        try:
            fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            return True
        try:
            return _try_lock(fd, shared=True)
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for lock in list(_locks):
        lock.release()  # of a descriptor that the parent has open too: it goes on holding the lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)

if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int, *, shared: bool = False) -> bool:
        # One byte far behind the note, because a locked region cannot be read on Windows.
        os.lseek(fd, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _is_only_looked_at(fd: int) -> bool:
        return False

else:
    import fcntl

    def _try_lock(fd: int, *, shared: bool = False) -> bool:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_only_looked_at(fd: int) -> bool:
        """Whether nobody has the lock for good: another's `is_free` shares it for an instant."""
        if not _try_lock(fd, shared=True):
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        return True


def copy_file(source: Path, target: Path, *, progress: Progress | None = None) -> None:
    """Copies a regular file by reflink where the file system can, else by bytes; never by hard link.

    `target` must not exist. It appears whole or not at all, with the source's mode and times. Raises OSError.
    """
    temporary = temporary_name(target)
    try:
        with open(source, "rb") as reader, open(temporary, "xb") as writer:
            if not _reflink(reader.fileno(), writer.fileno()):
                while chunk := reader.read(COPY_CHUNK):
                    writer.write(chunk)
                    if progress is not None:
                        progress(len(chunk))
            elif progress is not None:
                progress(os.fstat(reader.fileno()).st_size)
            writer.flush()
            os.fsync(writer.fileno())
        shutil.copystat(source, temporary)
        publish(temporary, target, overwrite=False)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _reflink(source: int, target: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def hash_file(path: Path, *, progress: Progress | None = None) -> str:
    """BLAKE3 of a file's content, 64 hexadecimal digits; constant memory. Raises OSError."""
    from blake3 import blake3

    hasher = blake3()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            hasher.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return hasher.hexdigest()


def pid_alive(pid: int) -> bool:
    """Whether a process of that id runs on this machine; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return True


def remove_left_behind(path: Path) -> None:
    """Removes what dead processes left beside `path` when they were stopped while they made it."""
    beginning = f".{path.name[:180]}."
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            match = TEMPORARY.match(entry.name)
            if match is None or entry.name[: match.start("pid")] != beginning or pid_alive(int(match["pid"])):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)


def sweep_temporaries(directory: Path, *, older_than_s: float = 60.0) -> list[Path]:
    """Removes temporary files of dead processes in a directory of ours; returns those removed.

    Never for directories that other frameworks write.
    """
    removed: list[Path] = []
    now = time.time()
    try:
        with os.scandir(directory) as listing:
            entries = list(listing)
    except OSError:
        return removed
    for entry in entries:
        match = TEMPORARY.match(entry.name)
        if match is None:
            continue
        with contextlib.suppress(OSError):
            own = int(match["pid"]) == os.getpid()
            age = now - entry.stat(follow_symlinks=False).st_mtime
            if not own and age >= older_than_s and not pid_alive(int(match["pid"])):
                os.unlink(entry.path)
                removed.append(Path(entry.path))
    return removed
