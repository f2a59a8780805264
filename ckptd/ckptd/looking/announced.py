"""Runs that made themselves known: notes in the state directory, each naming the directory of a run."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ckpt import files
from ckpt.encoding import path_fields, path_from_fields
from ckpt.paths import RunPaths

_BESIDE = 1000  # directories beside a vanished run among which it is looked for


class Announced:
    """The notes. `directory` None stands for no state directory; `writes` says whether stale ones may be changed."""

    def __init__(self, directory: Path | None, *, writes: bool) -> None:
        self._directory = directory
        self._writes = writes

    def runs(self) -> dict[str, list[Path]]:
        """The directories of the runs, each with the notes that name it."""
        found: dict[str, list[Path]] = {}
        if self._directory is None:
            return found
        try:
            notes = sorted(self._directory.iterdir())
        except OSError:
            return found
        for note in notes:
            try:
                path = os.path.realpath(path_from_fields(files.read_json(note, limit=1 << 20)))
            except (OSError, ValueError, KeyError, TypeError):
                continue
            found.setdefault(path, []).append(note)
        return found

    def follow(self, path: str, notes: list[Path], run: str | None) -> str | None:
        """Where the run with an id lies that has gone from `path`, when it only got another name; the notes follow it.

        None when it is not found beside its old place.
        """
        moved = None if run is None else _beside(path, run)
        if moved is not None and self._writes:
            for note in notes:
                with contextlib.suppress(OSError):
                    files.write_json(note, {**path_fields(moved), "id": run}, mode=0o600)
        return moved

    def drop(self, notes: list[Path]) -> None:
        """Takes notes away whose run is gone."""
        for note in notes:
            if self._writes:
                with contextlib.suppress(OSError):
                    note.unlink()


def _beside(path: str, run: str) -> str | None:
    try:
        with os.scandir(os.path.dirname(path)) as listing:
            for number, entry in enumerate(listing):
                if number >= _BESIDE:
                    return None
                if entry.is_dir(follow_symlinks=False) and _id_of(entry.path) == run:
                    return entry.path
    except OSError:
        return None
    return None


def _id_of(directory: str) -> str | None:
    try:
        manifest = files.read_json(RunPaths(Path(directory)).manifest, limit=1 << 20)
    except (OSError, ValueError):
        return None
    return manifest.get("id") if isinstance(manifest, dict) else None
