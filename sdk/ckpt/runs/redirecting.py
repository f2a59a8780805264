"""Where runs lie while a self-test tries a training: below a private directory, so that nobody's run is written.

A path of a run, `/a/exp1`, has its private place at `<private>/disk/a/exp1`. What is not there is read from its own
place. Without a self-test every path is its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.paths import MARKER_SUFFIX, RunPaths

VARIABLE = "CKPTD_SELFTEST"
"""Names the plan of a self-test, a file in its private directory, to the training and to all that it starts."""


def private_disk(plan: Path) -> Path:
    """The directory below which the runs of a self-test lie."""
    return plan.parent / "disk"


def _disk() -> Path | None:
    plan = os.environ.get(VARIABLE)
    return private_disk(Path(plan)) if plan else None


def written(path: Path) -> Path:
    """Where a run of this absolute path is made and written."""
    disk = _disk()
    if disk is None or path.is_relative_to(disk):
        return path
    return disk / path.relative_to(path.anchor)


def written_file(path: Path) -> Path:
    """Where a file of this absolute path is written; its private directory is made. Raises OSError."""
    target = written(path)
    if target != path:
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def places(path: Path) -> tuple[Path, ...]:
    """Where a run of this absolute path may be found, the first before the others."""
    disk = _disk()
    if disk is None:
        return (path,)
    private = written(path)
    return private, Path(os.sep) / private.relative_to(disk)


def is_spared(directory: Path) -> bool:
    """Whether nothing may be written to this run: it is the user's, and a self-test goes on."""
    return written(directory) != directory


def refuse_spared(directory: Path) -> None:
    """Raises UsageError where a run of the user's would be marked by what a training of a self-test starts."""
    if is_spared(directory):
        raise UsageError(
            f"a self-test goes on, and {printable(str(directory))} is not of it",
            hint="mark runs by hook.run or Run.open(): a self-test has them mark copies, or nothing",
        )


def trained(directory: Path) -> Path:
    """The run that is trained in place of this one; a run of the user's is copied, with its newest checkpoint.

    Raises OSError.
    """
    target = written(directory)
    if target == directory or RunPaths(target).manifest.is_file():
        return target
    from ckpt import scan

    ours, theirs = RunPaths(target), RunPaths(directory)
    files.make_directory(ours.checkpoints)
    whole = (c for c in scan.read_run(directory).checkpoints if c.state == "complete" and c.seq is not None)
    newest = next(whole, None)
    if newest is not None:
        _copy([Path(newest.path), Path(newest.path).with_suffix(MARKER_SUFFIX)], ours.checkpoints)
    _copy([path for path in (theirs.config, theirs.manifest) if path.is_file()], target)
    return target


def _copy(sources: Iterable[Path], directory: Path) -> None:
    for source in sources:
        files.copy_file(source, directory / source.name)
