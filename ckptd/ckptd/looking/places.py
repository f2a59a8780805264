"""Where a foreign run was when it was marked, and its marks told anew for another place."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ckpt import files, marks
from ckpt.encoding import path_fields, path_from_fields
from ckpt.records import Record, Run, checkpoint_id
from ckpt.scan.finding import CHECKPOINT_DIRECTORIES

PLACE = "place"


class Place(Record, frozen=True, kw_only=True):
    """The directory of a run: its path, the root above it, and its numbers."""

    path: str
    root: str
    device: int
    inode: int


def place_line(run: Run) -> dict[str, Any]:
    """The line that says where a run is now. Raises OSError."""
    info = os.stat(run.path)
    return {
        "at": time.time(),
        "kind": PLACE,
        **path_fields(run.path),
        "root": path_fields(run.root),
        "device": info.st_dev,
        "inode": info.st_ino,
    }


def last_place(lines: Iterable[Any]) -> Place | None:
    """The place that the last line of its kind names; None when there is none."""
    found: Place | None = None
    for line in lines:
        if isinstance(line, dict) and line.get("kind") == PLACE:
            found = _parse(line) or found
    return found


def place_of(path: Path) -> Place | None:
    """Where the run of a marks file was seen last; None when the file does not say. Raises OSError."""
    return last_place(files.read_json_lines(path, limit=marks.MAX_BYTES))


def stay(path: Path, run: Run) -> None:
    """Makes a marks file say where its run is, when it does not yet. Raises OSError."""
    line = place_line(run)
    if place_of(path) != _parse(line):
        files.append_json(path, line, mode=0o600)


def is_mark(line: Any) -> bool:
    """Whether a line of a marks file says something of a checkpoint."""
    return isinstance(line, dict) and isinstance(line.get("checkpoint"), str)


def translated(lines: Iterable[Any], was: str, place: Place, run: Run) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The marks of the run with the id `was` for its new id, and the ids of its checkpoints, old to new.

    Lines of the kind `place` are left out; a line whose checkpoint cannot be told stays as it is. Pure.
    """
    lines = [line for line in lines if isinstance(line, dict) and line.get("kind") != PLACE]
    ids: dict[str, str] = {}
    for line in lines:
        file, fingerprint = marks.file_of(line), line.get("fingerprint")
        if not is_mark(line) or file is None or not isinstance(fingerprint, str):
            continue
        if checkpoint_id(was, file, fingerprint) == line["checkpoint"]:
            ids[line["checkpoint"]] = checkpoint_id(run.id, _file_now(file, place, run), fingerprint)
    told: list[dict[str, Any]] = []
    for line in lines:
        fresh = dict(line)
        file = marks.file_of(line)
        if line.get("checkpoint") in ids:
            fresh["checkpoint"] = ids[line["checkpoint"]]
            if file is not None:
                fresh.pop("file_b64", None)
                fresh.update(marks.file_fields(_file_now(file, place, run)))
        told.append(fresh)
    return told, ids


def touches(place: Place, run: Run) -> bool:
    """Whether a run is at a place now, or a part of what was there, or the reverse."""
    return place.path == run.path or _is_part(place.path, run.path) or _is_part(run.path, place.path)


def numbers(path: str) -> tuple[int, int] | None:
    """Device and inode of the directory at a path; None when there is none. Raises OSError for one out of reach."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (info.st_dev, info.st_ino) if stat.S_ISDIR(info.st_mode) else None


def _file_now(file: str, place: Place, run: Run) -> str:
    """A file of the run at a place as the run names it now; it differs only where a part became a run, or reversely."""
    if _is_part(run.path, place.path) or _is_part(place.path, run.path):
        return os.path.relpath(os.path.join(place.path, file), run.path)
    return file


def _is_part(inner: str, outer: str) -> bool:
    """Whether a directory may be a part of the run in another one."""
    return os.path.dirname(inner) == outer and os.path.basename(inner).lower() in CHECKPOINT_DIRECTORIES


def _parse(line: Mapping[str, Any]) -> Place | None:
    try:
        return Place(
            path=path_from_fields(line),
            root=path_from_fields(line["root"]),
            device=int(line["device"]),
            inode=int(line["inode"]),
        )
    except (KeyError, ValueError, TypeError):
        return None
