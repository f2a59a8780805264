"""What runs take on their disks, by what it is and by whether anything else names it: the answer of `ckpt du`.

`bytes` are sizes as `ls -l` shows them, each file once however many names it has; `unique_bytes` and `shared_bytes` are
what lies on the disk, so holes in files count in neither. Markers of own checkpoints, a few hundred bytes each, are not
counted.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt.encoding import path_fields, printable
from ckpt.mounts import point_of
from ckpt.paths import POINTER_NAMES
from ckpt.records import Checkpoint
from ckpt.scan.occupied import on_disk
from ckpt.scan.view import RunView

KINDS = ("weights", "optimizer")


@dataclass(slots=True)
class _File:
    info: os.stat_result
    names: int = 0


@dataclass(slots=True)
class Files:
    """Regular files by device and inode, each with how many of its names are among those that were added."""

    _known: dict[tuple[int, int], _File] = field(default_factory=dict)

    def add(self, info: os.stat_result, *, names: int = 1) -> None:
        """Adds a name of a file, or with 0 names a file that only a symbolic link leads to."""
        self._known.setdefault((info.st_dev, info.st_ino), _File(info)).names += names

    def __contains__(self, info: os.stat_result) -> bool:
        """Whether a name of the file was added."""
        return (info.st_dev, info.st_ino) in self._known

    def join(self, other: Files) -> None:
        """Adds everything of another."""
        for file in other._known.values():
            self.add(file.info, names=file.names)

    @property
    def bytes(self) -> int:
        """Their sizes."""
        return sum(file.info.st_size for file in self._known.values())

    @property
    def unique_bytes(self) -> int:
        """What is free again when all the names are gone."""
        return sum(on_disk(file.info) for file in self._known.values() if file.names >= file.info.st_nlink)

    @property
    def shared_bytes(self) -> int:
        """What stays, because something else names it too."""
        return sum(on_disk(file.info) for file in self._known.values() if file.names < file.info.st_nlink)


def usage_to_json(views: Iterable[RunView], trashed: Mapping[str, int]) -> dict[str, Any]:
    """The answer over some runs, the largest first; `trashed` are the bytes in the trash by the run's id.

    Shape: {"runs": [{"run", "name", "path", "own", "checkpoints", "bytes", "unique_bytes", "shared_bytes", "by_kind",
    "trash_bytes"}], "bytes", "unique_bytes", "shared_bytes", "by_kind", "trash_bytes"}. The totals count each file
    once, also one that several of the runs name.
    """
    together = Files()
    runs: list[dict[str, Any]] = []
    for view in views:
        files = files_of(view)
        together.join(files)
        runs.append(
            {
                "run": view.run.id,
                "name": printable(view.run.name),
                **path_fields(view.run.path),
                "own": view.run.own,
                "checkpoints": len(view.checkpoints),
                "bytes": view.run.bytes,
                "unique_bytes": files.unique_bytes,
                "shared_bytes": files.shared_bytes,
                "by_kind": by_kind(view.checkpoints, view.run.bytes),
                "trash_bytes": trashed.get(view.run.id, 0),
            }
        )
    runs.sort(key=lambda run: (-run["bytes"], run["name"], run["run"]))
    size = together.bytes
    return {
        "runs": runs,
        "bytes": size,
        "unique_bytes": together.unique_bytes,
        "shared_bytes": together.shared_bytes,
        "by_kind": _split({kind: sum(run["by_kind"][kind] for run in runs) for kind in KINDS}, size),
        "trash_bytes": sum(trashed.values()),
    }


def disk_to_json(
    path: str, *, free: int | None, total: int | None, full_in_s: float | None = None, filling: bool = False
) -> dict[str, Any]:
    """A disk, beside the usage of the runs on it: by the place that it is mounted at, in bytes."""
    return {
        **path_fields(point_of(path)),
        "free_bytes": free,
        "total_bytes": total,
        "full_in_s": full_in_s,
        "filling": filling,
    }


def files_of(view: RunView) -> Files:
    """All files of a run's checkpoints as they are now; what is gone meanwhile is left out."""
    files = Files()
    for path in dict.fromkeys(_paths(view)):
        with contextlib.suppress(OSError):
            info = os.lstat(path)
            if stat.S_ISLNK(info.st_mode):
                files.add(os.stat(path), names=0)
            elif stat.S_ISREG(info.st_mode) and (info in files or not _is_pointer(view, path)):
                files.add(info)
    return files


def by_kind(checkpoints: Iterable[Checkpoint], size: int) -> dict[str, int]:
    """Bytes by what they are: `weights`, `optimizer` and `other`, together `size`.

    Where checkpoints share files, so that `size` is less than that of all of them, each kind shares alike.
    """
    known = dict.fromkeys(KINDS, 0)
    whole = 0
    for checkpoint in checkpoints:
        whole += checkpoint.bytes
        for kind in KINDS:
            known[kind] += checkpoint.kinds.get(kind, 0)
    if whole > size:
        known = {kind: found * size // whole for kind, found in known.items()}
    return _split(known, size)


def _split(known: Mapping[str, int], size: int) -> dict[str, int]:
    """The kinds with what is neither, brought to the size where they claim more."""
    claimed = sum(known.values())
    if claimed > size:
        known = {kind: found * size // claimed for kind, found in known.items()}
    return {**known, "other": size - sum(known.values())}


def _is_pointer(view: RunView, path: str) -> bool:
    return view.run.own and os.path.basename(path) in POINTER_NAMES


def _paths(view: RunView) -> Iterator[str]:
    """Names of all files of a run; pointers of an own one last, which may be further names of its files."""
    if view.run.own:
        yield from (checkpoint.path for checkpoint in view.checkpoints)
        folders = {os.path.dirname(checkpoint.path) for checkpoint in view.checkpoints}
        yield from (os.path.join(folder, name) for folder in folders for name in POINTER_NAMES)
        return
    for checkpoint in view.checkpoints:
        for path in checkpoint.files or (checkpoint.path,):
            if os.path.isdir(path) and not os.path.islink(path):
                for folder, _, names in os.walk(path):
                    yield from (os.path.join(folder, name) for name in names)
            elif not os.path.isdir(path):
                yield path
