"""The trainer's own pointers: which checkpoints its small files name, and which names lead to nothing.

Reads are bounded, and what a file says only ever chooses among the checkpoints of the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ckpt.encoding import printable
from ckpt.formats.source import Source, Unreadable
from ckpt.paths import is_step
from ckpt.scan.failing import is_exhausted
from ckpt.scan.listing import Entry
from ckpt.scan.names import GOING_ON, SNAPSHOT
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
    is_newest: bool = False
    """Whether the trainer goes on from what is named."""
    is_current: bool = True
    """Whether what is named should be there."""


@dataclass(slots=True)
class Held:
    """Which checkpoints are named by whom."""

    by: dict[str, list[str]] = field(default_factory=dict)
    """Checkpoint id to wordings."""
    problems: list[str] = field(default_factory=list)


def written(files: Sequence[Entry], problems: list[str]) -> list[Pointer]:
    """What the pointer files of a run say. A file that cannot be used is one of the problems.

    Raises OSError where the system fails.
    """
    found: list[Pointer] = []
    for file in files:
        try:
            found += _read(file)
        except (OSError, Unreadable, ValueError, RecursionError) as error:
            if isinstance(error, OSError) and is_exhausted(error):
                raise
            if not isinstance(error, FileNotFoundError):
                problems.append(f"{printable(file.name)} names no checkpoint that can be read")
    return found


class Names:
    """The checkpoints of the run in a directory by what they may be called."""

    def __init__(self, recorded: Iterable[Recorded], directory: str) -> None:
        self._directory = directory
        self._by_path: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}
        for item in recorded:
            paths = item.checkpoint.files
            step = os.path.dirname(item.checkpoint.path)
            for path in (*paths, step) if is_step(step) and step != directory else paths:
                self._by_path[path] = item.checkpoint.id
                self._by_name.setdefault(os.path.basename(path), []).append(item.checkpoint.id)

    def meant(self, target: str, pointer: Pointer) -> Sequence[str]:
        """The ids of the checkpoints that a name in a pointer stands for: by its path, else by the last part of it."""
        for place in (pointer.directory, self._directory):
            path = os.path.normpath(os.path.join(place, target))
            if path in self._by_path:
                return [self._by_path[path]]
        last = os.path.basename(target.rstrip("/"))
        if last in self._by_name:
            return self._by_name[last]
        if last.isascii() and last.isdigit() and len(last) <= 12:
            for form in _NUMBERED:
                name = form.format(int(last))
                if name in self._by_name:
                    return self._by_name[name]
        return ()


def held(found: Iterable[Pointer], names: Names) -> Held:
    """Which checkpoints of a run the pointers name."""
    result = Held()
    for pointer in found:
        for target in pointer.targets:
            named = names.meant(target, pointer)
            for checkpoint in named:
                wordings = result.by.setdefault(checkpoint, [])
                if pointer.wording not in wordings:
                    wordings.append(pointer.wording)
            problem = f"{printable(target[:200])}, {pointer.wording}, is not there"
            # What another run holds is not missing.
            elsewhere = os.path.isabs(target) and os.path.lexists(target)
            if not (named or elsewhere) and pointer.is_current and problem not in result.problems:
                result.problems.append(problem)
    return result


def _read(file: Entry) -> list[Pointer]:
    """What a pointer file says. Raises OSError, Unreadable, ValueError, RecursionError."""
    name = os.path.basename(file.name)
    is_snapshot = name == SNAPSHOT
    with Source(file.path) as source:
        if source.size > (_SNAPSHOT_BYTES if is_snapshot else _TEXT_BYTES):
            raise ValueError("it is too long")
        raw = source.read(0, source.size)
    wording, directory = f"named by {printable(file.name)}", os.path.dirname(file.path)
    if is_snapshot:
        return list(_listed(json.loads(raw), wording, directory))
    text = os.fsdecode(raw).strip()
    if not text or "\n" in text or "\0" in text:
        raise ValueError("it is no name")
    return [Pointer(wording, directory, (text,), is_newest=name in GOING_ON)]


def _listed(snapshot: object, wording: str, directory: str) -> Iterator[Pointer]:
    """The directories of the checkpoints that Ray Train keeps."""
    # The document is text in text where another version wrote it.
    if isinstance(snapshot, str):
        snapshot = json.loads(snapshot)
    if not isinstance(snapshot, dict):
        raise ValueError("it is no mapping")
    listed = snapshot.get("checkpoint_results")
    kept = listed[:_MAX_NAMES] if isinstance(listed, list) else []
    for results, is_newest in ((kept, False), ([snapshot.get("latest_checkpoint_result")], True)):
        names = [result.get("checkpoint_dir_name") for result in results if isinstance(result, dict)]
        targets = tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))
        yield Pointer(wording, directory, targets, is_newest)
