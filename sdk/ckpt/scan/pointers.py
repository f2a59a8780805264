"""The trainer's own pointers: which checkpoints its states and small files name, and who they name that is not there.

Reads are bounded, and what a file says only ever chooses among the checkpoints of the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ckpt import refs
from ckpt.encoding import printable
from ckpt.formats.source import Source, Unreadable
from ckpt.scan.failing import is_exhausted
from ckpt.scan.listing import Entry
from ckpt.scan.names import SNAPSHOT
from ckpt.scan.recording import Recorded

_TEXT_BYTES = 4096
_SNAPSHOT_BYTES = 16 << 20
_MAX_NAMES = 1000  # checkpoints that one pointer names at most
_NUMBERED = ("iter_{:07d}", "global_step_{}", "global_step{}", "step-{}", "{}")
"""What a number alone stands for."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """One place in which a trainer names checkpoints."""

    wording: str
    """How it holds them: `named by latest`, `best_model_checkpoint of checkpoint-500`."""
    directory: str
    """The directory that relative names are seen from."""
    targets: tuple[str, ...]
    """The names as they are written; each is one checkpoint."""


@dataclass(slots=True)
class Held:
    """Which checkpoints are named by whom."""

    by: dict[str, list[str]] = field(default_factory=dict)
    """Checkpoint id to wordings."""
    problems: list[str] = field(default_factory=list)


def pointers(files: Sequence[Entry], recorded: Sequence[Recorded], problems: list[str]) -> list[Pointer]:
    """What the pointer files of a run say, and what the newest checkpoint that names others does.

    A file that cannot be used is one of the problems. Raises OSError where the system fails.
    """
    found: list[Pointer] = []
    for file in files:
        try:
            targets = _targets(file)
        except (OSError, Unreadable, ValueError, RecursionError) as error:
            if isinstance(error, OSError) and is_exhausted(error):
                raise
            if not isinstance(error, FileNotFoundError):
                problems.append(f"{printable(file.name)} names no checkpoint that can be read")
            continue
        found.append(Pointer(f"named by {printable(file.name)}", os.path.dirname(file.path), targets))
    return found + _references(recorded)


def held(found: Iterable[Pointer], recorded: Sequence[Recorded], directory: str) -> Held:
    """Which checkpoints of the run in `directory` the pointers name. Pure."""
    by_path: dict[str, str] = {}
    by_name: dict[str, list[str]] = {}
    for item in recorded:
        for path in item.checkpoint.files:
            by_path[path] = item.checkpoint.id
            by_name.setdefault(os.path.basename(path), []).append(item.checkpoint.id)
    result = Held()
    for pointer in found:
        for target in pointer.targets:
            named = _named(target, (pointer.directory, directory), by_path, by_name)
            for checkpoint in named:
                wordings = result.by.setdefault(checkpoint, [])
                if pointer.wording not in wordings:
                    wordings.append(pointer.wording)
            if not named:
                result.problems.append(f"{printable(target[:200])}, {pointer.wording}, is not there")
    return result


def _named(
    target: str, places: Sequence[str], by_path: Mapping[str, str], by_name: Mapping[str, list[str]]
) -> Sequence[str]:
    """The ids of the checkpoints that a name stands for: by its path, else by the last part of it."""
    for place in places:
        path = os.path.normpath(os.path.join(place, target))
        if path in by_path:
            return [by_path[path]]
    last = os.path.basename(target.rstrip("/"))
    if last in by_name:
        return by_name[last]
    if last.isascii() and last.isdigit() and len(last) <= 12:
        for form in _NUMBERED:
            name = form.format(int(last))
            if name in by_name:
                return by_name[name]
    return ()


def _references(recorded: Sequence[Recorded]) -> list[Pointer]:
    naming = {
        item.checkpoint.id: item.inspection.references
        for item in recorded
        if item.checkpoint.state == "complete" and item.inspection is not None and item.inspection.references
    }
    found: list[Pointer] = []
    for checkpoint in refs.newest_first(item.checkpoint for item in recorded if item.checkpoint.id in naming)[:1]:
        place = os.path.dirname(checkpoint.path)
        name = printable(os.path.basename(checkpoint.path))
        for key, targets in naming[checkpoint.id].items():
            named = tuple(target for target in targets[:_MAX_NAMES] if target)
            found.append(Pointer(f"{printable(key)} of {name}", place, named))
    return found


def _targets(file: Entry) -> tuple[str, ...]:
    """The names in a pointer file. Raises OSError, Unreadable, ValueError, RecursionError."""
    is_snapshot = os.path.basename(file.name) == SNAPSHOT
    with Source(file.path) as source:
        if source.size > (_SNAPSHOT_BYTES if is_snapshot else _TEXT_BYTES):
            raise ValueError("it is too long")
        raw = source.read(0, source.size)
    if is_snapshot:
        return tuple(_listed(json.loads(raw)))
    text = os.fsdecode(raw).strip()
    if not text or "\n" in text or "\0" in text:
        raise ValueError("it is no name")
    return (text,)


def _listed(snapshot: object) -> Iterator[str]:
    """The directories of the checkpoints that Ray Train keeps."""
    # The document is text in text where another version wrote it.
    if isinstance(snapshot, str):
        snapshot = json.loads(snapshot)
    if not isinstance(snapshot, dict):
        raise ValueError("it is no mapping")
    listed = snapshot.get("checkpoint_results")
    results = [*(listed[:_MAX_NAMES] if isinstance(listed, list) else ()), snapshot.get("latest_checkpoint_result")]
    names = [result.get("checkpoint_dir_name") for result in results if isinstance(result, dict)]
    yield from dict.fromkeys(name for name in names if isinstance(name, str) and name)
