"""The runs below a directory, read from disk without any daemon; looked at every second, re-read where they changed."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt import files, marks, retention, scan
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, CkptError, UsageError
from ckpt.paths import RunPaths
from ckpt.records import Checkpoint, Run
from ckpt.trash import Trash, entry_to_json
from ckpt_tui.dashboard.acts import Act, ActKind, checkpoint_name
from ckpt_tui.dashboard.feed import Curves, RunDetail, Standing
from ckpt_tui.dashboard.feeds import local
from ckpt_tui.wording import file_name, plural

LOOK_S = 1.0  # between two looks at the disk
SHARE = 0.05  # of the time that looking for new runs may take
LOOKING = 0.1  # of the time that looking at the known ones may take
STALE_S = 60.0  # after which a run is read again because time itself changes it

_Signature = tuple[Any, ...]


@dataclass
class _Known:
    """A run as it was last read, and what its files looked like then."""

    signature: _Signature
    view: scan.RunView
    read_at: float


class DirectoryFeed:
    """Reads `root`; marks own runs in their own file, which a daemon reads too."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.title = printable(str(root))
        self.advice = "They appear as they are written; `ckpt tui DIR` looks elsewhere."
        self._cache = scan.Cache()
        self._lock = threading.Lock()
        self._known: dict[Path, _Known] = {}
        self._directories: list[Path] = []
        self._find_after = 0.0
        self._closed = threading.Event()

    def open(self) -> str | None:
        """Nothing to connect to."""
        return None

    def runs(self) -> list[Run]:
        """All runs below the directory. Raises OSError when it cannot be read."""
        with self._lock:
            self._look()
            return [known.view.run for known in self._known.values()]

    def standing(self) -> Standing:
        """Empty: no daemon is asked."""
        return Standing()

    def run(self, run_id: str) -> RunDetail:
        """One run. Raises AddressError when it is gone."""
        view = self._view(run_id)
        decisions = (*view.plan.keep, *view.plan.remove, *view.plan.skip)
        return RunDetail(
            run=view.run,
            checkpoints=view.checkpoints,
            verdicts={d.checkpoint.id: d.verdict for d in decisions},
            policy=view.plan.policy.to_json(),
        )

    def curves(self, run_id: str) -> Curves:
        """What a run emitted, else the values of its checkpoints."""
        return scan.curves(Path(self._view(run_id).run.path), points=2000)

    def plan(self, run_id: str) -> dict[str, Any]:
        """The plan of one run."""
        return retention.plan_to_json(retention.combine([self._view(run_id).plan]))

    def diff(self, a: Checkpoint, b: Checkpoint) -> dict[str, Any]:
        """Two checkpoints compared."""
        return local.compare(a, b)

    def resume(self, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
        """What is in the checkpoint for a resume, read from its files."""
        return local.resume(checkpoint)

    def trash(self, run_id: str | None) -> list[dict[str, Any]]:
        """The trashes of own runs together, newest first."""
        entries = [
            entry_to_json(entry)
            for directory, known in self._own()
            if run_id is None or known.view.run.id == run_id
            for entry in Trash(RunPaths(directory).trash).entries()
        ]
        return sorted(entries, key=lambda entry: -float(entry.get("trashed_at") or 0))

    def undoable(self) -> Act | None:
        """Nothing: see `cannot`."""
        return None

    def cannot(self, kind: ActKind, run: Run | None) -> str | None:
        """Undo needs the daemon's journal; marks of foreign runs are kept by the daemon."""
        if kind == "undo":
            return "Undo needs the daemon's journal: run `ckptd start`, then `ckpt undo`. T brings removals back."
        if kind in ("tag", "untag", "pin", "unpin", "note") and run is not None and not run.own:
            how = f"`ckpt watch add {self.title}`, then `ckpt tui`"
            return f"The daemon keeps the marks of runs that others wrote: {how}."
        return None

    def address(self, run: Run, checkpoint: Checkpoint, siblings: tuple[Checkpoint, ...]) -> str:
        """Its path, which needs no daemon either; as seen from here when that is shorter."""
        return min(checkpoint.path, os.path.relpath(checkpoint.path), key=len)

    def perform(self, act: Act) -> str:
        """Does it on disk."""
        reason = self.cannot(act.kind, act.run)
        if reason:
            raise UsageError(reason)
        match act.kind:
            case "restore":
                return local.restore(act)
            case "fork":
                said = f"forked {printable(str(local.fork(act)))}"
                self._find_after = 0.0
                return said
            case "trash restore":
                return self._restore_entries(act.entries)
            case _:
                return self._mark(act)

    def _mark(self, act: Act) -> str:
        if act.run is None or act.checkpoint is None:
            raise UsageError(f"{act.kind} needs a checkpoint")
        fields: dict[str, Any] = {}
        if act.kind in ("tag", "untag"):
            fields["name"] = marks.check_tag(act.text)
        elif act.kind == "note":
            fields["text"] = act.text
        elif act.kind == "pin":
            fields["why"] = ""
        name = os.path.basename(act.checkpoint.path)
        marks.append(RunPaths(Path(act.run.path)).marks, act.kind, act.checkpoint.id, file=name, **fields)
        said = {"tag": f"tagged {act.text}:", "untag": f"took {act.text} from", "note": "noted on"}
        return f"{said.get(act.kind, act.kind + 'ned')} {checkpoint_name(act.run, act.checkpoint)}"

    def _restore_entries(self, ids: tuple[str, ...]) -> str:
        restored: list[Path] = []
        for directory, _ in self._own():
            trash = Trash(RunPaths(directory).trash)
            for entry in trash.entries():
                if entry.id in ids:
                    paths = trash.restore(entry.id)
                    restored.append(paths[0])
                    checkpoint = str(entry.checkpoint.get("id", ""))
                    name = os.path.basename(entry.path)
                    marks.append(RunPaths(directory).marks, "pin", checkpoint, file=name, why="restored")
        if not restored:
            raise AddressError("it is not in the trash any more", hint="it was purged, or restored by somebody else")
        names = ", ".join(file_name(str(path)) for path in restored)
        return f"restored {plural(len(restored), 'checkpoint')}: {names}"

    def ping(self) -> bool:
        """Whether the directory can be read. Raises OSError."""
        os.stat(self.root)
        return True

    def changes(self) -> Iterator[frozenset[str] | None]:
        """Looks every second, less often where looking takes long, and tells which runs changed."""
        wait = LOOK_S
        while not self._closed.wait(wait):
            began = time.monotonic()
            with self._lock:
                changed = self._look()
            wait = max(LOOK_S, (time.monotonic() - began) / LOOKING)
            if changed:
                yield frozenset(changed)

    def close(self) -> None:
        """Ends `changes`."""
        self._closed.set()

    # Looking

    def _own(self) -> list[tuple[Path, _Known]]:
        with self._lock:
            return [(directory, known) for directory, known in self._known.items() if known.view.run.own]

    def _view(self, run_id: str) -> scan.RunView:
        with self._lock:
            for directory, known in self._known.items():
                if known.view.run.id == run_id:
                    self._read(directory)
                    return self._known[directory].view
        raise AddressError("the run is gone from the disk")

    def _look(self) -> set[str]:
        """Reads what changed; returns ids of the runs that did, gone ones too."""
        now = time.monotonic()
        if now >= self._find_after:
            self._directories = scan.find_runs(self.root)
            took = time.monotonic() - now
            self._find_after = now + max(LOOK_S, took / SHARE)
        changed: set[str] = set()
        for directory in self._directories:
            try:
                if self._read(directory):
                    changed.add(self._known[directory].view.run.id)
            except (OSError, CkptError):
                self._forget(directory, changed)
        for directory in set(self._known).difference(self._directories):
            self._forget(directory, changed)
        return changed

    def _forget(self, directory: Path, changed: set[str]) -> None:
        known = self._known.pop(directory, None)
        if known is not None:
            changed.add(known.view.run.id)

    def _read(self, directory: Path) -> bool:
        seen = _seen(directory)
        signature, now = (_surroundings(directory), "" if seen is None else seen.signature), time.monotonic()
        known = self._known.get(directory)
        if known is not None and known.signature == signature and now - known.read_at < STALE_S:
            return False
        view = scan.read_run(directory, root=self.root, cache=self._cache, sight=seen)
        self._known[directory] = _Known(signature, view, now)
        return known is None or known.view != view


def _seen(directory: Path) -> scan.Sight | None:
    """What the run consists of; None where a part of it cannot be listed, which reading it then tells."""
    try:
        return scan.sight(directory)
    except OSError:
        return None


def _surroundings(directory: Path) -> _Signature:
    """What else changes when a run changes: whether it trains, and the files directly in it, metrics among them."""
    found = []
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                info = entry.stat(follow_symlinks=False)
                found.append((entry.name, info.st_size, info.st_mtime_ns, info.st_ino))
    return (files.FileLock(RunPaths(directory).lock).is_free(), *sorted(found))
