"""Marks of foreign runs follow their run when it is moved, or when another root is put above or below it.

The id of a foreign run is made of its place, so its marks lie in a file that is named after a place. That file says
where the run was; when a run without marks turns up that is the same one, the file is told anew for its new id. The
marks are in exactly one file at every moment: first it is rewritten under its old name, then renamed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckpt import encoding, files, marks
from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt.records import Run
from ckpt.scan import RunView
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.looking.places import Place, is_mark, last_place, numbers, place_line, place_of, touches, translated

log = logging.getLogger("ckptd.adopting")


class Adopting:
    """Finds the marks that a run had elsewhere, and takes them over."""

    def __init__(
        self, directory: Path, events: Events, journal: Journal, is_out_of_sight: Callable[[str], bool]
    ) -> None:
        """`is_out_of_sight` tells of a path that lies on a disk which is not mounted."""
        self._directory = directory
        self._events = events
        self._journal = journal
        self._is_out_of_sight = is_out_of_sight
        self._listed = -1
        self._places: list[tuple[Path, Place]] = []

    def adopt(self, view: RunView) -> bool:
        """Gives a foreign run that has no marks those that it had at another place; whether there were any.

        A copy beside a run that is still there gets none. A failure is logged and leaves everything as it was.
        """
        target = self._directory / f"{view.run.id}.jsonl"
        try:
            if any(is_mark(line) for line in files.read_json_lines(target, limit=marks.MAX_BYTES)):
                return False
            found = self._source(target, view)
            if found is not None:
                self._take_over(*found, view.run)
                return True
        except (OSError, CkptError) as error:
            log.warning("marks of %s cannot be taken over: %s", printable(view.run.path), error)
        return False

    def _elsewhere(self) -> list[tuple[Path, Place]]:
        """The files of marks that say where their run was; the one that was changed last first. Raises OSError."""
        try:
            listed = os.stat(self._directory).st_mtime_ns
        except FileNotFoundError:
            return []
        if listed != self._listed:
            found = []
            with os.scandir(self._directory) as listing:
                for entry in listing:
                    place = place_of(Path(entry.path)) if entry.name.endswith(".jsonl") else None
                    if place is not None:
                        found.append((entry.stat().st_mtime, Path(entry.path), place))
            found.sort(key=lambda item: -item[0])
            self._places = [(path, place) for _, path, place in found]
            self._listed = listed
        return self._places

    def _source(self, target: Path, view: RunView) -> tuple[Path, Place, list[Any]] | None:
        """The file of marks that are a run's, with where that was and its lines. Raises OSError.

        The same directory goes before the same content: runs that were copied from each other hold the same files.
        """
        copies: list[tuple[Path, Place, list[Any]]] = []
        for source, known in self._elsewhere():
            if source == target or not _is_candidate(known, view.run):
                continue
            lines = list(files.read_json_lines(source, limit=marks.MAX_BYTES))
            place = last_place(lines)
            if place is None:
                continue
            if _is_same_directory(place, lines, source.stem, view):
                return source, place, lines
            if self._is_copy(place, lines, source.stem, view):
                copies.append((source, place, lines))
        return copies[0] if len(copies) == 1 else None

    def _is_copy(self, place: Place, lines: list[Any], was: str, view: RunView) -> bool:
        """Whether a run is what was at a place, copied to another disk under its name, and there taken away.

        On the same disk a run that moves stays the same directory. Raises OSError.
        """
        run = view.run
        here = numbers(run.path)
        if here is None or here[0] == place.device or os.path.basename(run.path) != os.path.basename(place.path):
            return False
        _, ids = translated(lines, was, place, run)
        wanted = set(ids.values())
        complete = bool(wanted) and wanted.issubset({c.id for c in view.checkpoints})
        return complete and numbers(place.path) is None and self._is_cleared(place)

    def _is_cleared(self, place: Place) -> bool:
        """Whether a run that is not at its place was taken away, rather than its disk. Raises OSError."""
        if self._is_out_of_sight(place.path):
            return False
        above = os.path.dirname(place.path)
        while not os.path.isdir(above):
            above = os.path.dirname(above)
        # An empty directory may be one that a disk is mounted at.
        return os.stat(above).st_dev == place.device or bool(os.listdir(above))

    def _take_over(self, source: Path, place: Place, lines: list[Any], run: Run) -> None:
        """Makes the marks of one run those of another. Raises OSError."""
        told, ids = translated(lines, source.stem, place, run)
        told.append(place_line(run))
        where = {"from": printable(place.path), "to": printable(run.path)}
        self._journal.record("moved", run=run.id, was=source.stem, checkpoints=ids, **where)
        files.atomic_write(source, b"".join(encoding.dumps(line) + b"\n" for line in told), mode=0o600)
        os.replace(source, self._directory / f"{run.id}.jsonl")
        files.fsync_directory(self._directory)
        self._events.emit("run.moved", run.id, was=source.stem, **where)


def _is_candidate(place: Place, run: Run) -> bool:
    """Whether the marks of a place may be a run's: no directory of theirs is there any more, or it is the run's own.

    Raises OSError.
    """
    return touches(place, run) or numbers(place.path) != (place.device, place.inode)


def _is_same_directory(place: Place, lines: list[Any], was: str, view: RunView) -> bool:
    """Whether a run is the directory that was at a place, with something in it that was marked. Raises OSError."""
    run = view.run
    if place.path == run.path and place.root == run.root:
        # Rewritten for this run before, but not renamed yet.
        return True
    _, ids = translated(lines, was, place, run)
    if {c.id for c in view.checkpoints}.isdisjoint(ids.values()):
        return False
    here = numbers(run.path)
    return touches(place, run) or (here == (place.device, place.inode) and numbers(place.path) != here)
