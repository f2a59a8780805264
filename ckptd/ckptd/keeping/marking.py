"""What the user says through the daemon: tags, pins and notes, written where the run keeps its marks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ckpt import marks
from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.paths import RunPaths, StatePaths
from ckpt.records import Checkpoint
from ckpt.scan import RunView
from ckpt.scan.recording import content_of
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.looking import places
from ckptd.looking.scanner import Scanner

KINDS = ("tag", "untag", "pin", "unpin", "note")


class Marking:
    """Writes marks, journaled with what takes them back."""

    def __init__(self, scanner: Scanner, events: Events, journal: Journal, state: StatePaths | None) -> None:
        self._scanner = scanner
        self._events = events
        self._journal = journal
        self._state = state

    def mark(self, view: RunView, checkpoint: Checkpoint, kind: str, name: str | None, text: str | None) -> None:
        """Adds or takes away a mark. Raises UsageError for one that cannot be, and OSError."""
        if kind not in KINDS:
            raise UsageError(f"'{printable(kind)}' is no kind of mark", hint=f"kinds: {', '.join(KINDS)}")
        said = marks.read(self._path(view))
        inverse: dict[str, Any]
        if kind in ("tag", "untag"):
            name = self._tag(kind, name, checkpoint)
            holder = said.tags.get(name)
            if kind == "untag":
                inverse = {"kind": "tag", "checkpoint": checkpoint.id, "name": name}
            elif holder is None:
                inverse = {"kind": "untag", "checkpoint": checkpoint.id, "name": name}
            else:
                inverse = {"kind": "tag", "checkpoint": holder, "name": name, "file": said.files.get(holder)}
            fields: dict[str, Any] = {"name": name}
        elif kind == "note":
            inverse = {"kind": "note", "checkpoint": checkpoint.id, "text": said.notes.get(checkpoint.id, "")}
            fields = {"text": text or ""}
        else:
            pinned = checkpoint.id in said.pins
            inverse = {"kind": "pin" if pinned else "unpin", "checkpoint": checkpoint.id}
            fields = {"why": ""} if kind == "pin" else {}
        base = RunPaths(Path(view.run.path)).checkpoints if view.run.own else view.run.path
        file = os.path.relpath(checkpoint.path, base)
        self._journal.record(
            "mark",
            mark=kind,
            run=view.run.id,
            checkpoint=checkpoint.id,
            inverse=inverse,
            file=printable(file),
            **fields,
        )
        fingerprint = None if view.run.own else content_of(checkpoint)
        self._append(view, kind, checkpoint.id, fields, file=file, fingerprint=fingerprint)

    def take_back(self, view: RunView, inverse: dict[str, Any]) -> None:
        """Applies the inverse that the journal keeps of a mark."""
        fields = {k: inverse[k] for k in ("name", "text") if inverse.get(k) is not None}
        self._append(view, str(inverse["kind"]), str(inverse["checkpoint"]), fields, file=inverse.get("file"))

    def _append(
        self,
        view: RunView,
        kind: str,
        checkpoint: str,
        fields: dict[str, Any],
        *,
        file: str | None = None,
        fingerprint: str | None = None,
    ) -> None:
        path = self._path(view)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not view.run.own:
            places.stay(path, view.run)
        marks.append(path, kind, checkpoint, file=file, fingerprint=fingerprint, **fields)
        self._events.emit("mark", view.run.id, checkpoint, mark=kind, **fields)
        self._scanner.read(Path(view.run.path))

    def _path(self, view: RunView) -> Path:
        if view.run.own:
            return RunPaths(Path(view.run.path)).marks
        if self._state is None:
            raise UsageError("marks of this run can only be kept by a running daemon", hint="start it: ckptd start")
        return self._state.marks / f"{view.run.id}.jsonl"

    def _tag(self, kind: str, name: str | None, checkpoint: Checkpoint) -> str:
        if not name:
            raise UsageError("a tag needs a name")
        marks.check_tag(name)
        if kind == "untag" and name not in checkpoint.tags:
            tags = [tag for tag in checkpoint.tags if not marks.RESERVED_TAG.match(tag)]
            raise UsageError(
                f"{printable(os.path.basename(checkpoint.path))} has no tag {name!r}",
                hint=f"it has: {', '.join(tags)}" if tags else "it has none",
            )
        return name
