"""Directories of runs: how they are named and made, without two processes ever sharing one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt.runs.manifest import new_manifest, write_new

_NUMBERED = re.compile(r"^exp(\d{1,9})$")


def check_name(name: str | bytes) -> str:
    """The name itself, as text. Raises UsageError when it cannot be that of a directory or of an address."""
    text = os.fsdecode(name)
    if not text or text.startswith(".") or text.endswith((" ", ".")) or any(c in text for c in "/\\\0@"):
        raise UsageError(
            f"'{printable(text)}' cannot be the name of a run",
            hint="a name is one directory name without / \\ @, not starting with a dot",
        )
    return text


def make_directory(base: Path, name: str | None) -> Path:
    """A fresh directory `base/name`, or `base/expN`. Raises UsageError when a name is taken, OperationError."""
    try:
        files.make_directory(base)
        made = numbered(base, name, lambda path: path.mkdir())
        files.fsync_directory(base)
        return made
    except OSError as error:
        raise OperationError(f"no run can be made in {printable(str(base))}: {error.strerror}") from error


def numbered(base: Path, name: str | None, make: Callable[[Path], object]) -> Path:
    """Makes `base/name`, or the first free `base/expN`; `make` fails when its directory exists, so nobody shares one.

    Raises UsageError when a given name is taken.
    """
    number = 0
    if name is None:
        existing = (_NUMBERED.match(entry) for entry in (os.listdir(base) if base.is_dir() else ()))
        number = max((int(found[1]) for found in existing if found), default=0)
    while True:
        number += 1
        path = base / (name or f"exp{number}")
        try:
            make(path)
            return path
        except (FileExistsError, UsageError):
            if not os.path.lexists(path):
                raise
        if name is not None:
            raise UsageError(
                f"{printable(str(path))} exists already",
                hint="Run.resume() goes on with it; another name makes another run",
            )


def adopt(path: Path, experiment_name: str | None) -> None:
    """Makes a directory a run. Side files of ours among the checkpoints of another framework have broken trainings."""
    from ckpt.formats import SUFFIXES

    try:
        files.make_directory(path)
        foreign = [e for e in os.listdir(path) if os.path.splitext(e)[1] in SUFFIXES or e.startswith("checkpoint-")]
        if foreign:
            raise UsageError(
                f"{printable(str(path))} holds checkpoints that something else wrote, such as {printable(foreign[0])}",
                hint=f"give the run a directory of its own, such as {printable(str(path / 'run'))}",
            )
        manifest = new_manifest(path.name, experiment_name=experiment_name)
        write_new(path, manifest)
    except FileExistsError as error:
        if not RunPaths(path).manifest.is_file():
            raise OperationError(f"{printable(str(path))} is not a directory") from error
    except OSError as error:
        raise OperationError(f"{printable(str(path))} cannot be made a run: {error.strerror}") from error
