"""Restore: brings a checkpoint or a whole run to another place, by reflink or by bytes.

Never by hard link: a training that rewrites the copy must not change the original. Nothing is ever overwritten. In
directories symbolic links are copied as links, and files with several names keep them; a link that leads out of a
checkpoint is copied as the file that it leads to.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import OperationError, UsageError
from ckpt.paths import is_temporary

_NOT_RESTORED = frozenset({".trash", "run.lock"})


def restore_checkpoint(
    checkpoint_files: Sequence[Path], destination: Path, *, progress: files.Progress | None = None
) -> list[Path]:
    """Copies what one checkpoint consists of to `destination` and returns the new paths.

    The first of `checkpoint_files` is the checkpoint, a file or a directory; then come the files beside it. Other names
    of it, symbolic and hard links, are not copied.

    A file: a directory, or a name without suffix, takes all of them under their own names; otherwise `destination` is
    the new name of the first, and a side file is named after it. A directory: `destination` is its new name, or a
    directory that exists and takes it under its own name.

    Raises UsageError when a name is taken, or where one name is not enough for all the files; OperationError, with
    nothing left behind, when a copy fails.
    """
    main, *sides = _apart(checkpoint_files)
    if main.is_dir() and not main.is_symlink():
        name = destination / main.name if destination.is_dir() else destination
        return [_copy_whole(main, Path(os.path.abspath(name)), "a checkpoint", _nothing, _resolve, progress)]
    if destination.is_dir() or not destination.suffix:
        pairs = [(source, destination / source.name) for source in (main, *sides)]
    else:
        if any(side.stem != main.stem or side.suffix == main.suffix for side in sides):
            raise UsageError(
                f"{printable(main.name)} is one of {len(sides) + 1} files of its checkpoint, which need a directory",
                hint=f"name a directory: {printable(str(destination.with_suffix('')))}",
            )
        pairs = [(main, destination), *((side, destination.with_suffix(side.suffix)) for side in sides)]
    for _, target in pairs:
        _require_free(target)
    done: list[Path] = []
    try:
        pairs[0][1].parent.mkdir(parents=True, exist_ok=True)
        for source, target in pairs:
            files.remove_left_behind(target)
            files.copy_file(source, target, progress=progress)
            done.append(target)
    except OSError as error:
        for target in done:
            target.unlink(missing_ok=True)
        raise OperationError(f"{printable(str(main))} could not be copied: {error}") from error
    except BaseException:
        for target in done:
            target.unlink(missing_ok=True)
        raise
    return done


def restore_run(directory: Path, destination: Path, *, progress: files.Progress | None = None) -> Path:
    """Copies a whole run directory, without its trash, to `destination`, which must not exist.

    It is made under a temporary name and appears whole or not at all. Raises UsageError when the name is taken and
    OperationError when a copy fails.
    """
    destination = Path(os.path.abspath(destination))
    if destination.is_dir() and not os.listdir(destination):
        destination.rmdir()
    return _copy_whole(directory, destination, "a run", _not_restored, _as_it_is, progress)


def tree_bytes(directory: Path) -> int:
    """Bytes that `restore_run` will copy."""
    held: dict[tuple[int, int], int] = {}
    pending = [directory]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if _not_restored(entry.name) or entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    held[info.st_dev, info.st_ino] = info.st_size
    return sum(held.values())


def _nothing(name: str) -> bool:
    return False


def _not_restored(name: str) -> bool:
    return name in _NOT_RESTORED or is_temporary(name)


def _apart(paths: Sequence[Path]) -> list[Path]:
    """The paths without other names of the same files."""
    held: set[tuple[int, int]] = set()
    found: list[Path] = []
    for path in paths:
        try:
            info = os.stat(path, follow_symlinks=False)
        except OSError:
            # That it is gone is told by who copies it.
            found.append(path)
            continue
        if not stat.S_ISLNK(info.st_mode) and (info.st_dev, info.st_ino) not in held:
            held.add((info.st_dev, info.st_ino))
            found.append(path)
    return found


def _require_free(target: Path) -> None:
    if os.path.lexists(target):
        raise UsageError(
            f"{printable(str(target))} exists already", hint="choose another destination: nothing is overwritten"
        )


def _as_it_is(link: str, root: str) -> str | None:
    return os.readlink(link)


def _resolve(link: str, root: str) -> str | None:
    """What a copy of a link has to say so that it leads to the same, or None where the file itself has to be copied.

    Raises OSError for a link that leads to nothing.
    """
    said, led = os.readlink(link), os.path.realpath(link)
    if not os.path.exists(led):
        raise FileNotFoundError(errno.ENOENT, "a link that leads to nothing", link)
    if led == root or led.startswith(root + os.sep):
        place = os.path.realpath(os.path.dirname(link))
        around = os.path.normpath(os.path.join(os.path.relpath(place, root), said)).split(os.sep)[0]
        return said if around not in ("", os.pardir) else os.path.relpath(led, place)
    return None if os.path.isfile(led) else led


def _copy_whole(
    source: Path,
    target: Path,
    what: str,
    left_out: Callable[[str], bool],
    link_to: Callable[[str, str], str | None],
    progress: files.Progress | None,
) -> Path:
    """Copies a directory under a temporary name, then renames it."""
    _require_free(target)
    if target.is_relative_to(os.path.abspath(source)):
        raise UsageError(f"{what} cannot be restored into itself", hint="choose a destination outside of it")
    files.remove_left_behind(target)
    staging = files.temporary_name(target)
    try:
        staging.mkdir(parents=True)
        _Tree(os.path.realpath(source), left_out, link_to, progress).copy(source, staging)
        os.rename(staging, target)
        files.fsync_directory(target.parent)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise OperationError(f"{printable(str(source))} could not be copied: {error}") from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return target


class _Tree:
    """One directory that is being copied with all that is in it. Raises OSError."""

    def __init__(
        self,
        root: str,
        left_out: Callable[[str], bool],
        link_to: Callable[[str, str], str | None],
        progress: files.Progress | None,
    ) -> None:
        self._root = root
        self._left_out = left_out
        self._link_to = link_to
        self._progress = progress
        self._copied: dict[tuple[int, int], Path] = {}
        """The copies so far by the inodes of their originals, so that two names of one file stay that."""

    def copy(self, source: Path, target: Path) -> None:
        with os.scandir(source) as entries:
            for entry in entries:
                if self._left_out(entry.name):
                    continue
                copy = target / entry.name
                if entry.is_symlink():
                    self._link(entry, copy)
                elif entry.is_dir(follow_symlinks=False):
                    copy.mkdir()
                    self.copy(Path(entry.path), copy)
                elif entry.is_file(follow_symlinks=False):
                    self._file(entry.path, entry.stat(follow_symlinks=False), copy)
        shutil.copystat(source, target)

    def _link(self, entry: os.DirEntry[str], copy: Path) -> None:
        leads = self._link_to(entry.path, self._root)
        if leads is None:
            led = os.path.realpath(entry.path)
            self._file(led, os.stat(led), copy)
        else:
            copy.symlink_to(leads)
            shutil.copystat(entry.path, copy, follow_symlinks=False)

    def _file(self, path: str, info: os.stat_result, copy: Path) -> None:
        known = self._copied.setdefault((info.st_dev, info.st_ino), copy)
        if known is copy or not _linked(known, copy):
            files.copy_file(Path(path), copy, progress=self._progress)


def _linked(known: Path, name: Path) -> bool:
    """Gives a copy a second name; False where the file system has no hard links."""
    try:
        os.link(known, name)
    except OSError:
        return False
    return True
