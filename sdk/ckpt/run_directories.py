"""Directories of runs: named, made, found and locked. What `Run` stands on."""

from __future__ import annotations

import difflib
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt import files
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, LockedError, OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt.records import Checkpoint

if TYPE_CHECKING:
    from ckpt.scan import RunView

PRUNER = "ckptd"  # program whose hold of the lock is short
PRUNER_WAIT_S = 5.0
_NUMBERED = re.compile(r"^exp(\d{1,9})$")


def read_manifest(directory: Path) -> dict[str, Any]:
    """The content of `run.json`.

    Raises AddressError when there is none, and OperationError when it is damaged or of an unknown format.
    """
    path = RunPaths(directory).manifest
    try:
        manifest = files.read_json(path, limit=16 << 20)
    except FileNotFoundError:
        raise AddressError(f"{printable(str(directory))} is no run: it has no run.json") from None
    except (OSError, ValueError) as error:
        raise OperationError(f"{printable(str(path))} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("id"), str):
        raise OperationError(f"{printable(str(path))} is not the manifest of a run")
    if manifest.get("format") != 1:
        raise OperationError(
            f"{printable(str(path))} has format {manifest.get('format')!r}, and this version knows 1",
            hint="use the version that wrote it, or a newer one",
        )
    return manifest


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
        base.mkdir(parents=True, exist_ok=True)
        return numbered(base, name, lambda path: path.mkdir())
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
    from ckpt.copies import new_manifest
    from ckpt.formats import SUFFIXES

    try:
        path.mkdir(parents=True, exist_ok=True)
        foreign = [e for e in os.listdir(path) if os.path.splitext(e)[1] in SUFFIXES or e.startswith("checkpoint-")]
        if foreign:
            raise UsageError(
                f"{printable(str(path))} holds checkpoints that something else wrote, such as {printable(foreign[0])}",
                hint=f"give the run a directory of its own, such as {printable(str(path / 'run'))}",
            )
        manifest = new_manifest(path.name, experiment_name=experiment_name)
        files.write_json(RunPaths(path).manifest, manifest, overwrite=False)
    except FileExistsError as error:
        if not RunPaths(path).manifest.is_file():
            raise OperationError(f"{printable(str(path))} is not a directory") from error
    except OSError as error:
        raise OperationError(f"{printable(str(path))} cannot be made a run: {error.strerror}") from error


def find(path: str | os.PathLike[str], base_dir: str | os.PathLike[str]) -> Path:
    """The directory of an own run. Raises AddressError that names what is near."""
    text = os.fspath(path)
    base = Path(os.path.abspath(base_dir))
    candidates = [Path(os.path.abspath(text)), base / text]
    for candidate in candidates:
        if RunPaths(candidate).manifest.is_file():
            return candidate
    known = sorted(e for e in (os.listdir(base) if base.is_dir() else ()) if RunPaths(base / e).manifest.is_file())
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.5) or known[:8]
    raise AddressError(
        f"no run '{printable(text)}' here or in {printable(str(base))}",
        hint=f"there is {', '.join(printable(name) for name in near)}" if near else "no run is there yet",
        candidates=known[:50],
    )


def start_of(source: str | os.PathLike[str], base: Path, selector: str | None) -> tuple[RunView, Checkpoint]:
    """The run and the checkpoint in it that a fork starts from."""
    from ckpt import scan
    from ckpt.refs import select

    text = os.fspath(source)
    if os.path.isfile(text):
        directory, file = scan.run_of(Path(os.path.abspath(text)))
        view = scan.read_run(directory)
        real = os.path.realpath(text if file is None else file)
        for found in view.checkpoints:
            if os.path.realpath(found.path) == real:
                return view, found
        raise AddressError(f"{printable(text)} is no checkpoint that can be read")
    if selector is None and "@" in os.path.basename(text):
        text, _, selector = text.rpartition("@")
    view = scan.read_run(find(text, base))
    return view, select(selector, view.checkpoints, view.run)


def acquire(lock: files.FileLock, name: str) -> None:
    """Takes a run's lock, waiting only for the daemon. Raises LockedError, naming the process that holds it."""
    deadline = time.monotonic() + PRUNER_WAIT_S
    while True:
        try:
            lock.acquire({"pid": os.getpid(), "host": socket.gethostname(), "program": os.path.basename(sys.argv[0])})
            return
        except LockedError:
            holder = lock.holder()
            if holder.get("program") != PRUNER or time.monotonic() >= deadline:
                where = f" on {holder['host']}" if holder.get("host") else ""
                raise LockedError(
                    f"run '{printable(name)}' is held by process {holder.get('pid', 'unknown')}{where}",
                    hint="wait until it ends, or fork the run",
                ) from None
        time.sleep(0.05)
