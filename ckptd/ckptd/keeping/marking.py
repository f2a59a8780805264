"""What the user says through the daemon, written where the run keeps its marks; journaled with what takes it back."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
from ckptd.keeping.mark_lines import KINDS, meant
from ckptd.looking import places
from ckptd.looking.scanner import Scanner

POLICY = "policy"


class Marking:
    """Writes marks of checkpoints, and the policy that a command sets for a run."""

    def __init__(self, scanner: Scanner, events: Events, journal: Journal, state: StatePaths | None) -> None:
        self._scanner = scanner
        self._events = events
        self._journal = journal
        self._state = state

    def mark(self, view: RunView, checkpoint: Checkpoint, kind: str, said: Mapping[str, Any]) -> None:
        """Adds or takes away a mark; `said` holds its fields. Raises UsageError for one that cannot be, and OSError."""
        if kind not in KINDS:
            raise UsageError(f"'{printable(kind)}' is no kind of mark", hint=f"kinds: {', '.join(KINDS)}")
        mark = meant(kind, said, checkpoint, marks.read(self._path(view)))
        file = _file(view, checkpoint)
        self._journal.record(
            "mark",
            mark=kind,
            run=view.run.id,
            checkpoint=checkpoint.id,
            inverse={"checkpoint": checkpoint.id, **mark.inverse},
            file=printable(file),
            **mark.fields,
        )
        fingerprint = None if view.run.own else content_of(checkpoint)
        self._append(view, kind, checkpoint.id, mark.fields, file=file, fingerprint=fingerprint)

    def set_policy(self, view: RunView, policy: Mapping[str, Any]) -> None:
        """Makes `policy` all that commands ask of a run; {} asks nothing. Raises UsageError and OSError."""
        before = marks.read(self._path(view)).policy
        fields = {"policy": dict(policy)}
        self._journal.record("mark", mark=POLICY, run=view.run.id, inverse={"kind": POLICY, "policy": before}, **fields)
        self._set(view, fields)

    @property
    def directory(self) -> Path | None:
        """Where marks of foreign runs lie; None without a daemon."""
        return None if self._state is None else self._state.marks

    def take_back(self, view: RunView, inverse: dict[str, Any]) -> None:
        """Applies the inverse that the journal keeps of a mark."""
        kind = str(inverse["kind"])
        if kind == POLICY:
            self._set(view, {"policy": inverse["policy"]})
            return
        apart = ("kind", "checkpoint", "file")
        fields = {name: value for name, value in inverse.items() if name not in apart and value is not None}
        self._append(view, kind, str(inverse["checkpoint"]), fields, file=inverse.get("file"))

    def _set(self, view: RunView, fields: dict[str, Any]) -> None:
        # The run has no name in its marks: a checkpoint of it tells it again when it has been moved.
        witness = next((c for c in view.checkpoints if c.state == "complete"), None)
        if view.run.own or witness is None:
            self._append(view, POLICY, None, fields)
        else:
            file, fingerprint = _file(view, witness), content_of(witness)
            self._append(view, POLICY, witness.id, fields, file=file, fingerprint=fingerprint)

    def _append(
        self,
        view: RunView,
        kind: str,
        checkpoint: str | None,
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
        self._events.emit("mark", view.run.id, None if kind == POLICY else checkpoint, mark=kind, **fields)
        self._scanner.read(Path(view.run.path))

    def _path(self, view: RunView) -> Path:
        if view.run.own:
            return RunPaths(Path(view.run.path)).marks
        if self._state is None:
            raise UsageError("marks of this run can only be kept by a running daemon", hint="start it: ckptd start")
        return self._state.marks / f"{view.run.id}.jsonl"


def _file(view: RunView, checkpoint: Checkpoint) -> str:
    """A checkpoint's file as its marks name it."""
    base = RunPaths(Path(view.run.path)).checkpoints if view.run.own else view.run.path
    return os.path.relpath(checkpoint.path, base)
