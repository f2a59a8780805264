"""The trainer's own pointers: which checkpoints its small files name, and where that is not known.

Reads are bounded, and what a file says only ever chooses among the checkpoints of the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ckpt.encoding import printable
from ckpt.formats.source import Source, Unreadable
from ckpt.paths import is_step
from ckpt.scan.cache import identity
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
    unread: str | None = None
    """What keeps it from being known what is named; None when that is known."""


@dataclass(slots=True)
class Held:
    """Which checkpoints are named by whom."""

    by: dict[str, list[str]] = field(default_factory=dict)
    """Checkpoint id to wordings."""
    problems: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """Why there may be more that are named."""


def written(files: Iterable[Entry]) -> list[Pointer]:
    """What the pointer files of a run say; one that cannot be used, or changes while it is read, is unread.

    Raises OSError where the system fails.
    """
    return [pointer for file in files for pointer in _said(file)]


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
        if pointer.unread is not None:
            if pointer.unread not in result.problems:
                result.problems.append(pointer.unread)
            result.doubts.append(_doubt(pointer.unread, pointer))
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
            # It may be half of a name, or a name of a kind that is not known here.
            if pointer.is_newest and not named and not os.path.lexists(os.path.join(pointer.directory, target)):
                result.doubts.append(_doubt(problem, pointer))
    return result


def _doubt(problem: str, pointer: Pointer) -> str:
    unknown = "what its trainer goes on from" if pointer.is_newest else "which checkpoints its trainer needs"
    return f"{problem}, so {unknown} is not known"


def _said(file: Entry) -> list[Pointer]:
    """What a pointer file says. Raises OSError where the system fails."""
    wording, directory = f"named by {printable(file.name)}", os.path.dirname(file.path)
    name = os.path.basename(file.name)
    is_newest = name in GOING_ON
    try:
        raw = _content(file.path, _SNAPSHOT_BYTES if name == SNAPSHOT else _TEXT_BYTES)
        if name != SNAPSHOT:
            return [Pointer(wording, directory, (_name(raw),), is_newest)]
        kept, newest = _listed(raw)
        return [Pointer(wording, directory, kept), Pointer(wording, directory, newest, is_newest=True)]
    except (OSError, Unreadable, ValueError) as error:
        if isinstance(error, OSError) and is_exhausted(error):
            raise
        why = printable(str(error.strerror if isinstance(error, OSError) else error))
        return [Pointer(wording, directory, (), is_newest, unread=f"{printable(file.name)} cannot be read: {why}")]


def _content(path: str, limit: int) -> bytes:
    """A file that is the same before and after it was read. Raises OSError, Unreadable, ValueError."""
    before = os.lstat(path)
    with Source(path) as source:
        if source.size > limit:
            raise ValueError("it is too long")
        raw = source.read(0, source.size)
    if identity(os.lstat(path)) != identity(before):
        raise ValueError("it changes")
    return raw


def _name(raw: bytes) -> str:
    """The one name in a text. Raises ValueError where it is none."""
    text = os.fsdecode(raw).strip()
    if not text:
        raise ValueError("it is empty")
    if "\n" in text or "\0" in text:
        raise ValueError("it is no name")
    return text


def _listed(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The directories of the checkpoints that Ray Train keeps, and that of the newest. Raises ValueError."""
    try:
        snapshot = json.loads(raw)
        # The document is text in text where another version wrote it.
        if isinstance(snapshot, str):
            snapshot = json.loads(snapshot)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    results = snapshot.get("checkpoint_results") if isinstance(snapshot, dict) else None
    if not isinstance(results, list):
        raise ValueError("it lists no checkpoints")
    if len(results) > _MAX_NAMES:
        raise ValueError(f"it lists more than {_MAX_NAMES} checkpoints")
    newest = snapshot.get("latest_checkpoint_result")
    return _directories(results), _directories([] if newest is None else [newest])


def _directories(results: Iterable[object]) -> tuple[str, ...]:
    """The directories of some of Ray's results. Raises ValueError where one tells none."""
    found: dict[str, None] = {}
    for result in results:
        name = result.get("checkpoint_dir_name") if isinstance(result, dict) else None
        if not isinstance(name, str) or not name:
            raise ValueError("it lists a checkpoint without its directory")
        found[name] = None
    return tuple(found)
