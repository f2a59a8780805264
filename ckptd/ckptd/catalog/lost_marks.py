"""Marks of foreign runs given back from the journal when their file is gone or damaged.

The journal tells of each mark before it is written, and of each that was taken back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ckpt import encoding, files, marks
from ckpt.encoding import printable
from ckpt.paths import StatePaths
from ckpt.scan import RunView
from ckpt.scan.recording import content_of
from ckptd.journal import Journal
from ckptd.looking import places

_CONTENT = ("name", "text", "metrics", "step", "names", "steps", "policy")
_FIELDS = ("checkpoint", "file", "file_b64", "fingerprint", "why", *_CONTENT)
_SAID = ("kind", "checkpoint", *_CONTENT)
_SAME_WITHIN_S = 10.0  # between a mark's line in the journal and the same one in the marks file


@dataclass(frozen=True)
class Restored:
    """What was done about the marks of one run."""

    run: str
    what: Literal["missing", "damaged", "unreadable"]
    lines: int
    """Lines that the file did not have."""


def restore(state: StatePaths, journal: Journal, views: Iterable[RunView]) -> list[Restored]:
    """Gives back what the journal knows of the marks of foreign runs; says for which and why.

    A damaged file is kept beside the new one. Files that are whole are left alone. Raises OSError when the journal
    cannot be read or a file cannot be written.
    """
    found: list[Restored] = []
    told: dict[str, list[dict[str, Any]]] | None = None
    for view in views:
        run = view.run
        path = state.marks / f"{run.id}.jsonl"
        lines: list[dict[str, Any]] | None
        try:
            lines, whole = _read(path)
        except FileNotFoundError:
            lines, whole = None, False
        except OSError:
            found.append(Restored(run.id, "unreadable", 0))
            continue
        if whole:
            continue
        if told is None:
            told = marks_told(journal.history())
        new = [_named(line, view) for line in _without(told.get(run.id, []), lines or [])]
        if lines is None:
            if not new:
                continue
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            files.copy_file(path, path.with_name(f"{path.name}.corrupt-{time.time_ns()}"))
        files.atomic_write(path, _encoded(sorted([*new, *(lines or [])], key=_at)), mode=0o600)
        places.stay(path, run)
        found.append(Restored(run.id, "missing" if lines is None else "damaged", len(new)))
    return found


def marks_told(acts: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The lines of each run's marks file as the journal tells them, oldest first."""
    lines: dict[str, list[dict[str, Any]]] = {}
    inverses: dict[Any, tuple[str, Mapping[str, Any]]] = {}
    moves: list[Mapping[str, Any]] = []
    for act in acts:
        run = act.get("run")
        if act.get("kind") == "mark" and isinstance(run, str):
            lines.setdefault(run, []).append(_line(act, act.get("mark"), act))
            if isinstance(act.get("inverse"), dict):
                inverses[act.get("seq")] = run, act["inverse"]
        elif act.get("kind") == "undo" and act.get("of") in inverses:
            run, inverse = inverses[act.get("of")]
            said = _line(act, inverse.get("kind"), inverse)
            for move in moves:
                if move.get("was") == run:
                    run, said = move["run"], _moved(said, move)
            lines[run].append(said)
        elif act.get("kind") == "moved" and isinstance(run, str) and act.get("was") in lines:
            moves.append(act)
            lines[run] = [_moved(line, act) for line in lines.pop(act["was"])]
    return lines


def describe(restored: Restored, name: str) -> str:
    """What was done, for people; `name` is that of the run."""
    if restored.what == "unreadable":
        return f"the marks of {printable(name)} cannot be read"
    words = f"{restored.lines} mark{'' if restored.lines == 1 else 's'}"
    if restored.what == "missing":
        return f"the marks of {printable(name)} were gone: {words} restored from the journal"
    return f"the marks of {printable(name)} were damaged: {words} restored from the journal, the old file is kept"


def _line(act: Mapping[str, Any], kind: Any, said: Mapping[str, Any]) -> dict[str, Any]:
    return {"at": act.get("at"), "kind": kind, **{key: said[key] for key in _FIELDS if said.get(key) is not None}}


def _moved(line: dict[str, Any], move: Mapping[str, Any]) -> dict[str, Any]:
    """A line with the id that its checkpoint has after its run was moved."""
    ids = move.get("checkpoints")
    checkpoint = line.get("checkpoint")
    return {**line, "checkpoint": ids.get(checkpoint, checkpoint)} if isinstance(ids, dict) else line


def _read(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The lines that can be read, and whether these are all."""
    lines: list[dict[str, Any]] = []
    whole = True
    with open(path, "rb") as stream:
        for raw in stream:
            try:
                line = encoding.loads(raw)
            except ValueError:
                line = None
            if isinstance(line, dict):
                lines.append(line)
            elif raw.strip():
                whole = False
    return lines, whole


def _without(told: list[dict[str, Any]], known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is told beyond what is known; the journal's clock is a little ahead of the file's."""

    def is_known(line: dict[str, Any]) -> bool:
        said = {key: line.get(key) for key in _SAID}
        return any(
            said == {key: other.get(key) for key in _SAID} and 0 <= _at(other) - _at(line) < _SAME_WITHIN_S
            for other in known
        )

    return [line for line in told if not is_known(line)]


def _named(line: dict[str, Any], view: RunView) -> dict[str, Any]:
    """The line with what tells its checkpoint again after the run has moved, when that is still there."""
    for checkpoint in view.checkpoints:
        if checkpoint.id == line.get("checkpoint"):
            file = marks.file_fields(os.path.relpath(checkpoint.path, view.run.path))
            return {**line, **file, "fingerprint": content_of(checkpoint)}
    return line


def _at(line: Mapping[str, Any]) -> float:
    at = line.get("at")
    return float(at) if isinstance(at, int | float) else 0.0


def _encoded(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(encoding.dumps(line) + b"\n" for line in lines)
