"""A directory held open, for renames and deletes that no symbolic link can lead elsewhere.

Below the directory that it starts from every component is opened without following links, and names are resolved
against the open directory, so swapping a component for a link in between changes nothing. Where the platform cannot
name files relative to an open directory, each component is looked at instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ckpt import files
from ckpt.encoding import printable

_RELATIVE = os.open in os.supports_dir_fd and os.rename in os.supports_dir_fd
_RENAME_NOREPLACE = 1
_OPEN = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class Folder:
    """An open directory. Methods raise OSError; a component that is a symbolic link raises NotADirectoryError."""

    def __init__(self, path: Path, fd: int | None) -> None:
        self.path = path
        self._fd = fd

    def below(self, name: str, *, create: bool = False) -> Folder:
        """The directory of that name in this one, made first when `create` is set and it is missing."""
        if create:
            with contextlib.suppress(FileExistsError):
                self.make(name)
        path = self.path / name
        if self._fd is None:
            info = os.lstat(path)
            if not stat.S_ISDIR(info.st_mode) or path.is_symlink():
                raise NotADirectoryError(errno.ENOTDIR, f"{printable(name)} is a link or a file", str(path))
            return Folder(path, None)
        try:
            return Folder(path, os.open(name, _OPEN | _NO_LINK, dir_fd=self._fd))
        except OSError as error:
            # Which of the two a link is depends on the system.
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise NotADirectoryError(errno.ENOTDIR, f"{printable(name)} is a link or a file", str(path)) from None
            raise

    def look(self, name: str) -> os.stat_result | None:
        """What is at a name, links not followed; None when nothing is."""
        try:
            return os.stat(self._name(name), dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def target(self, name: str) -> str:
        """Where a symbolic link in it leads."""
        return os.readlink(self._name(name), dir_fd=self._fd)

    def make(self, name: str, *, mode: int = 0o777) -> None:
        """Makes a directory in it, durable. Raises FileExistsError when the name is taken."""
        os.mkdir(self._name(name), mode, dir_fd=self._fd)
        self.sync()

    def move(self, name: str, target: Folder, new_name: str | None = None) -> None:
        """Moves an entry into another directory by one rename.

        Raises FileExistsError when the name is taken there: nothing is ever overwritten.
        """
        new = name if new_name is None else new_name
        if self._fd is not None and target._fd is not None and _rename_exclusive(self._fd, name, target._fd, new):
            return
        if target.look(new) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target.path / new))
        os.rename(self._name(name), target._name(new), src_dir_fd=self._fd, dst_dir_fd=target._fd)

    def remove_empty(self, name: str) -> bool:
        """Removes an empty directory; False when there is something in it, or it is none."""
        try:
            os.rmdir(self._name(name), dir_fd=self._fd)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                return False
            raise
        return True

    def allow(self, name: str) -> None:
        """Lets this user read and change a directory in it, which must be nobody else's to swap."""
        os.chmod(self._name(name), 0o700, dir_fd=self._fd)

    def unlink(self, name: str) -> None:
        """Removes a name that is no directory; nothing when it is gone already."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name(name), dir_fd=self._fd)

    def names(self) -> list[str]:
        """The names in it, sorted."""
        return sorted(os.listdir(self.path if self._fd is None else self._fd))

    def sync(self) -> None:
        """Makes the renames in it durable."""
        if self._fd is None:
            files.fsync_directory(self.path)
        else:
            os.fsync(self._fd)

    def close(self) -> None:
        """Closes it; may be called twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _name(self, name: str) -> str:
        return name if self._fd is not None else str(self.path / name)


@contextlib.contextmanager
def opened(base: Path, parts: Sequence[str] = (), *, create: bool = False) -> Iterator[Folder]:
    """The directory `base/parts…`; `base` itself may be reached through links, nothing below it.

    Missing parts are made when `create` is set. Raises OSError.
    """
    folder = Folder(base, os.open(base, _OPEN) if _RELATIVE else None)
    try:
        for part in parts:
            inner = folder.below(part, create=create)
            folder.close()
            folder = inner
        yield folder
    finally:
        folder.close()


def delete_tree(parent: Folder, name: str) -> int:
    """Deletes an entry of `parent` with all that is in it, following no link; returns the bytes that are free then.

    A file that has another name elsewhere frees nothing. Raises OSError; what is left can be deleted again.
    """
    info = parent.look(name)
    if info is None:
        return 0
    if not stat.S_ISDIR(info.st_mode):
        parent.unlink(name)
        return info.st_size if info.st_nlink == 1 else 0
    freed = 0
    if stat.S_IMODE(info.st_mode) & 0o700 != 0o700:
        parent.allow(name)
    folder = parent.below(name)
    try:
        for inner in folder.names():
            freed += delete_tree(folder, inner)
    finally:
        folder.close()
    if not parent.remove_empty(name):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(parent.path / name))
    return freed


def _rename_exclusive(source: int, name: str, target: int, new: str) -> bool:
    """One rename that refuses a taken name; False where the system or the file system has no such call."""
    call = _renameat2()
    if call is None:
        return False
    if call(source, os.fsencode(name), target, os.fsencode(new), _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), name)


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    call.restype = ctypes.c_int
    result: Callable[[int, bytes, int, bytes, int], int] = call
    return result
