"""What the user said of a run and its checkpoints: tags, pins, notes, metrics attached later, a policy.

An append-only file of JSON lines, read by SDK and daemon alike; folding the lines gives the present state. A line
names its checkpoint by id and by its file name as seen from the run's checkpoints (`file_b64` beside it holds the bytes
of a name that is not UTF-8). Of a foreign run it has the fingerprint too: run, file and fingerprint make the id, so the
file can be told anew for a run whose id has changed.

    {"at": 1700000000.0, "kind": "tag", "checkpoint": "3f…", "file": "step-001200.pt", "fingerprint": "torch:…",
     "name": "paper"}

kind: tag, untag (name) · pin (why), unpin · note (text, "" removes it) ·
metric (metrics: name to value, step; or one name and value) ·
unmetric (names that are taken away; metrics and their steps: what holds of them again) ·
fork (child: id of the run that was forked from the checkpoint, name) ·
policy (policy: all fields that are set for the run by command; it names no checkpoint)

Marks of a foreign run lie apart from it. Lines of kind `place` say where it is, the last one where it was seen last:

    {"at": 1700000000.0, "kind": "place", "path": "/data/x/run", "root": {"path": "/data"}, "device": 65, "inode": 131}
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpt import encoding, files
from ckpt.exceptions import UsageError
from ckpt.refs import RESERVED_TAG as RESERVED_TAG

MAX_BYTES = 1 << 30
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,63}$")


def check_tag(name: str) -> str:
    """The tag name itself. Raises UsageError for a reserved or unusable one."""
    if RESERVED_TAG.match(name):
        raise UsageError(f"the tag {name!r} moves by itself", hint="choose another name, or `ckpt pin` it")
    if not _TAG.fullmatch(name) or ":" in name or name.startswith("~"):
        raise UsageError(
            f"'{encoding.printable(name)}' cannot be a tag",
            hint="use letters, digits and . _ - + / (1 to 64, not starting with a sign)",
        )
    return name


@dataclass(frozen=True, slots=True)
class Late:
    """A value that was attached after the save, and the step that it was measured at; None when nobody said."""

    value: float
    step: int | None = None


@dataclass(frozen=True)
class CheckpointMarks:
    """What was said of one checkpoint."""

    tags: tuple[str, ...] = ()
    pinned: bool = False
    note: str | None = None
    metrics: dict[str, Late] = field(default_factory=dict)
    forks: tuple[str, ...] = ()
    """Names of the runs that were forked from it."""


@dataclass
class Marks:
    """All marks of a run, folded."""

    tags: dict[str, str] = field(default_factory=dict)
    """Tag name to checkpoint id."""
    pins: dict[str, str] = field(default_factory=dict)
    """Checkpoint id to why it is pinned ("" when only asked for)."""
    notes: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, dict[str, Late]] = field(default_factory=dict)
    """Checkpoint id to the metrics that were attached later, by their names."""
    forks: dict[str, dict[str, str]] = field(default_factory=dict)
    """Checkpoint id to the runs that were forked from it: id to name."""
    files: dict[str, str] = field(default_factory=dict)
    """Checkpoint id to the file name that it had when it was marked."""
    policy: dict[str, Any] = field(default_factory=dict)
    """Fields of the run's policy that were set by command."""
    mentioned: set[str] = field(default_factory=set)
    """Ids of all checkpoints that something was ever said of."""

    def of(self, checkpoint: str) -> CheckpointMarks:
        """The marks of one checkpoint."""
        return CheckpointMarks(
            tags=tuple(sorted(name for name, target in self.tags.items() if target == checkpoint)),
            pinned=checkpoint in self.pins,
            note=self.notes.get(checkpoint),
            metrics=dict(self.metrics.get(checkpoint, {})),
            forks=tuple(sorted(self.forks.get(checkpoint, {}).values())),
        )

    def apply(self, line: Any) -> None:
        """Takes one line of the file into account; a line that is not understood changes nothing."""
        if not isinstance(line, dict):
            return
        kind, checkpoint, name = line.get("kind"), line.get("checkpoint"), line.get("name")
        if kind == "policy":
            self.policy = dict(line["policy"]) if isinstance(line.get("policy"), dict) else self.policy
            return
        if not isinstance(checkpoint, str):
            return
        self.mentioned.add(checkpoint)
        file = file_of(line)
        if file is not None:
            self.files[checkpoint] = file
        if kind == "tag" and isinstance(name, str):
            self.tags[name] = checkpoint
        elif kind == "untag" and isinstance(name, str):
            if self.tags.get(name) == checkpoint:
                del self.tags[name]
        elif kind == "pin":
            self.pins[checkpoint] = str(line.get("why") or "")
        elif kind == "unpin":
            self.pins.pop(checkpoint, None)
        elif kind == "note":
            text = line.get("text")
            if text:
                self.notes[checkpoint] = str(text)
            else:
                self.notes.pop(checkpoint, None)
        elif kind == "fork" and isinstance(line.get("child"), str):
            self.forks.setdefault(checkpoint, {})[line["child"]] = str(name or line["child"])
        elif kind in ("metric", "unmetric"):
            self._measure(checkpoint, line)

    def _measure(self, checkpoint: str, line: dict[str, Any]) -> None:
        known = self.metrics.setdefault(checkpoint, {})
        if line["kind"] == "unmetric":
            for name in line["names"] if isinstance(line.get("names"), list) else ():
                known.pop(str(name), None)
        said = line.get("metrics")
        if line["kind"] == "metric" and isinstance(line.get("name"), str):
            said = {line["name"]: line.get("value")}
        steps = line["steps"] if isinstance(line.get("steps"), dict) else {}
        for name, value in encoding.metrics_from_disk(said).items():
            step = steps.get(name, line.get("step"))
            known[name] = Late(float(value), step if isinstance(step, int) and not isinstance(step, bool) else None)
        if not known:
            del self.metrics[checkpoint]


def fold(lines: Iterable[Any]) -> Marks:
    """The present state after all lines, in order."""
    marks = Marks()
    for line in lines:
        marks.apply(line)
    return marks


def read(path: Path) -> Marks:
    """The marks in a file; none when it does not exist.

    Raises OSError, also for a file that is too large: without its marks nobody knows what is protected.
    """
    return fold(files.read_json_lines(path, limit=MAX_BYTES))


def append(
    path: Path,
    kind: str,
    checkpoint: str | None,
    *,
    file: str | None = None,
    fingerprint: str | None = None,
    **fields: Any,
) -> None:
    """Adds a mark, of the run itself when `checkpoint` is None; durable before it returns. Raises OSError."""
    line: dict[str, Any] = {"at": time.time(), "kind": kind}
    if checkpoint is not None:
        line["checkpoint"] = checkpoint
    line.update(fields)
    if file is not None:
        line.update(file_fields(file))
    if fingerprint is not None:
        line["fingerprint"] = fingerprint
    files.append_json(path, line)


def file_fields(file: str) -> dict[str, str]:
    """How a line names a checkpoint's file."""
    named = encoding.path_fields(file)
    return {"file": named["path"], **({"file_b64": named["path_b64"]} if "path_b64" in named else {})}


def file_of(line: Any) -> str | None:
    """The checkpoint's file that a line names, byte for byte; None when it names none."""
    if not isinstance(line.get("file"), str):
        return None
    named = {"path": line["file"]}
    if isinstance(line.get("file_b64"), str):
        named["path_b64"] = line["file_b64"]
    try:
        return encoding.path_from_fields(named)
    except ValueError:
        return str(line["file"])
