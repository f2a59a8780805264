"""Removed checkpoints brought back to where they were, each pinned so that it stays."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from ckpt import marks
from ckpt.encoding import path_fields, printable
from ckpt.exceptions import CkptError, UsageError
from ckpt.paths import RunPaths, StatePaths
from ckpt.protocol import checkpoint_from_json
from ckpt.records import checkpoint_id
from ckpt.scan.recording import content_of
from ckpt.trash import TrashEntry
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.trashes import Shelved
from ckptd.looking import places
from ckptd.looking.scanner import Scanner


class Restoring:
    """Takes entries out of the trashes that hold them, whether their run is known or not."""

    def __init__(self, scanner: Scanner, events: Events, journal: Journal, state: StatePaths | None) -> None:
        self._scanner = scanner
        self._events = events
        self._journal = journal
        self._state = state

    def restore(self, item: Shelved) -> dict[str, Any]:
        """Brings one entry back. Raises OperationError when its place is taken, and OSError; then it stays there.

        So it does where somebody else owns the trash.
        """
        item.shelf.refuse_other()
        entry, run = item.entry, item.entry.run if item.run is None else item.run.id
        checkpoint = _id_now(item)
        line = self._journal.record("restore", run=run, checkpoint=checkpoint, entry=entry.id, plan=entry.plan)
        kept = self._marks_of(item, run)
        was_pinned = checkpoint in marks.read(kept).pins
        # Pinned first: a training that prunes between the two must find the pin.
        self._pin(kept, item, checkpoint)
        try:
            back = item.shelf.trash.restore(entry.id)
        except (CkptError, OSError) as error:
            if not was_pinned and _is_whole(item):
                with contextlib.suppress(OSError):
                    marks.append(kept, "unpin", checkpoint)
            why = error.message if isinstance(error, CkptError) else str(error)
            with contextlib.suppress(OSError):
                self._journal.record("stayed", of=line["seq"], run=run, checkpoint=checkpoint, why=why)
            raise
        if item.run is not None:
            self._scanner.read(Path(item.run.path))
        self._events.emit("checkpoint.restored", run, checkpoint, path=printable(entry.path))
        return {"id": checkpoint, "entry": entry.id, **path_fields(str(back[0] if back else entry.path))}

    def _marks_of(self, item: Shelved, run: str) -> Path:
        if item.shelf.run is not None:
            return RunPaths(Path(item.shelf.run.path)).marks
        if self._state is None:
            raise UsageError("only a running daemon can pin what it restores", hint="start it: ckptd start")
        return self._state.marks / f"{run}.jsonl"

    def _pin(self, kept: Path, item: Shelved, checkpoint: str) -> None:
        path = item.entry.path
        if item.shelf.run is not None:
            marks.append(kept, "pin", checkpoint, file=os.path.basename(path), why="restored")
            return
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.path.basename(path)
        if item.run is not None:
            places.stay(kept, item.run)
            file = os.path.relpath(path, item.run.path)
        marks.append(kept, "pin", checkpoint, file=file, fingerprint=_content_of(item.entry), why="restored")


def _is_whole(item: Shelved) -> bool:
    """Whether all of an entry still lies in the trash: then no recovery brings it back by itself."""
    place = os.path.join(item.shelf.trash.directory, item.entry.id)
    return all(os.path.lexists(os.path.join(place, part.name)) for part in item.entry.items)


def _id_now(item: Shelved) -> str:
    """The id that the checkpoint will have: that of its record, unless its run has another id by now."""
    recorded, run = str(item.entry.checkpoint.get("id")), item.run
    content = _content_of(item.entry)
    if item.shelf.run is not None or run is None or run.id == item.entry.run or content is None:
        return recorded
    return checkpoint_id(run.id, os.path.relpath(item.entry.path, run.path), content)


def _content_of(entry: TrashEntry) -> str | None:
    """What stands for the content of a removed checkpoint, so that its pin follows it; None when it does not say."""
    try:
        return content_of(checkpoint_from_json(entry.checkpoint))
    except (KeyError, ValueError, TypeError):
        return None
