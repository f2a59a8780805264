"""One run at a time from the disk to the catalog: read when it changed, told when it differs."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ckpt import scan
from ckpt.encoding import printable
from ckpt.paths import RunPaths, StatePaths
from ckpt.records import foreign_run_id
from ckpt.scan import RunView
from ckpt.scan.failing import UNREADABLE
from ckpt.scan.foreign import FOREIGN_TRAINING_S
from ckpt.scan.recording import SETTLE_S
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events, changes
from ckptd.looking.adopting import Adopting
from ckptd.looking.states import StateTail
from ckptd.policies import Policies

TURNS = 60  # looks in which every run is read once, whatever its files say
_DOUBTED = 200  # files that such a reading opens again at most


class Reader:
    """Reads runs. Not locked: the scanner lets one thread in at a time."""

    def __init__(
        self,
        policies: Policies,
        catalog: Catalog,
        events: Events,
        states: StateTail,
        state: StatePaths | None,
        adopting: Adopting | None,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._policies = policies
        self._catalog = catalog
        self._events = events
        self._states = states
        self._marks = None if state is None else state.marks
        self._adopting = adopting
        self._failed = failed
        self._caches: dict[str, scan.Cache] = {}
        self._writing: set[str] = set()
        self.trashing: set[str] = set()
        """Ids of foreign checkpoints that are on their way to the trash of their root, to be told as such."""
        self.turn = 0
        """Number of the look; a run's turn comes once in `TURNS` looks, and not in the first ones."""

    def forget_all(self) -> None:
        """Trusts nothing that was read so far."""
        self._caches.clear()

    def read(
        self,
        path: str,
        root: str | None,
        *,
        quick: bool = False,
        is_lost: Callable[[str], bool] = lambda path: False,
        unreadable: Callable[[str], None] = lambda path: None,
    ) -> RunView | None:
        """Looks at the run in a directory; None when it is gone, cannot be read, or, if `quick`, has not changed.

        `root` is the watched directory above it. `is_lost` tells whether a run that is not there is only out of sight;
        `unreadable` hears of a known run that cannot be listed now and stays as it was.
        """
        old = self._catalog.at(path)
        sight: scan.Sight | None = None
        try:
            sight = scan.sight(Path(path), self._marks_of(path, root))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            if old is not None:
                unreadable(path)
                return None
        if old is not None and sight is not None and _is_hidden(old, sight):
            unreadable(path)
            return None
        signature = None if sight is None else sight.signature
        if quick and self._is_as_known(path, root, old, signature):
            return None
        cache = self._caches.setdefault(path, scan.Cache())
        if self._has_turn(path):
            cache.doubt(_DOUBTED)
        try:
            fresh = self._fresh(path, root, cache, old, sight)
        except OSError as error:
            if old is not None and is_gone(path) and not is_lost(path):
                self.gone(old)
            elif not isinstance(error, FileNotFoundError):
                self._failed(f"run {printable(path)} cannot be read", error)
            return None
        except Exception as error:  # noqa: BLE001  one run that breaks a reader must not hide the others
            self._failed(f"run {printable(path)} could not be understood", error)
            return None
        if not fresh.run.own and not fresh.checkpoints:
            if old is not None and not is_lost(path):
                self.gone(old)
            return None
        if any(c.fingerprint == UNREADABLE for c in fresh.checkpoints):
            # It may be well again without a sign.
            signature = None
        return self._take(path, old, fresh, signature)

    def gone(self, view: RunView) -> None:
        """Forgets a run and tells so."""
        path = view.run.path
        self._catalog.remove(view.run.id)
        self._caches.pop(path, None)
        self._policies.forget(path)
        self._writing.discard(path)
        self._states.forget(view.run.id)
        self._events.emit("run.removed", view.run.id, path=printable(path))

    def govern(self, views: Iterable[RunView]) -> set[str]:
        """Plans those runs anew that are under another policy or in another situation now; returns their ids."""
        changed = self._policies.refresh(self._catalog, views)
        for before, after in changed:
            self._tell(changes(before, after))
        return {after.run.id for _, after in changed}

    def unsettled(self) -> list[Path]:
        """Directories of runs in which something is being written, and something has changed since they were read."""
        return [Path(path) for path in sorted(self._writing) if self._is_due(path)]

    def _fresh(
        self, path: str, root: str | None, cache: scan.Cache, old: RunView | None, sight: scan.Sight | None
    ) -> RunView:
        above = None if root is None else Path(root)
        fresh = scan.read_run(Path(path), root=above, cache=cache, foreign_marks=self._marks, sight=sight)
        new = old is None or old.run.id != fresh.run.id
        if new and not fresh.run.own and self._adopting is not None and self._adopting.adopt(fresh):
            fresh = scan.read_run(Path(path), root=above, cache=cache, foreign_marks=self._marks, sight=sight)
        return fresh

    def _take(self, path: str, old: RunView | None, fresh: RunView, signature: str | None) -> RunView:
        """Puts a fresh look into the catalog and tells what changed."""
        if any(c.state == "writing" for c in fresh.checkpoints):
            self._writing.add(path)
        else:
            self._writing.discard(path)
        before, view = self._catalog.put(self._policies.govern(fresh), signature)
        if before is None and old is not None and old.run.id != view.run.id:
            self._events.emit("run.removed", old.run.id, path=printable(path))
        if before is not None and before.run.path != path:
            self._caches.pop(before.run.path, None)
            self._policies.forget(before.run.path)
            self._writing.discard(before.run.path)
            where = {"from": printable(before.run.path), "to": printable(path)}
            self._events.emit("run.moved", view.run.id, was=before.run.id, **where)
            before = _moved(before, path)
        self._tell(changes(before, view, _trashed(before, view) | self.trashing))
        return view

    def _tell(self, found: Iterable[Mapping[str, Any]]) -> None:
        for change in found:
            self._events.emit(**_shown(change))

    def _is_as_known(self, path: str, root: str | None, old: RunView | None, signature: str | None) -> bool:
        """Whether reading a run would tell nothing new."""
        if old is None or signature is None or self._has_turn(path):
            return False
        # A run that was announced belongs to a root from the moment on that one is put above it.
        if root is not None and old.run.root != root:
            return False
        return self._catalog.signature(path) == signature and not _clock_changes(old, time.time())

    def _has_turn(self, path: str) -> bool:
        turn = zlib.crc32(os.fsencode(path)) % TURNS
        return self.turn > TURNS and self.turn % TURNS == turn

    def _is_due(self, path: str) -> bool:
        view = self._catalog.at(path)
        if view is None:
            return False
        if view.run.own:
            return True
        try:
            now = scan.signature(Path(path), self._marks_of(path, view.run.root))
        except OSError:
            return True
        return now != self._catalog.signature(path) or _clock_changes(view, time.time())

    def _marks_of(self, path: str, root: str | None) -> Path | None:
        """The file with the marks of a run, were it a foreign one."""
        if self._marks is None:
            return None
        above = os.path.dirname(path) if root is None else root
        return self._marks / f"{foreign_run_id(above, os.path.relpath(path, above))}.jsonl"


def is_gone(path: str) -> bool:
    """Whether there is nothing at a path, rather than something out of reach."""
    try:
        os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_hidden(view: RunView, sight: scan.Sight) -> bool:
    """Whether checkpoints of a run lie in directories that cannot be listed now."""
    closed = (
        [] if sight.listing is None else [os.path.join(view.run.path, name, "") for name, _ in sight.listing.failed]
    )
    return any(os.path.join(c.path, "").startswith(place) for c in view.checkpoints for place in closed)


def _clock_changes(view: RunView, now: float) -> bool:
    """Whether what is known of a run may change although its files do not."""
    writing = [c for c in view.checkpoints if c.state == "writing"]
    if view.run.own:
        return view.run.status in ("training", "stalled") or bool(writing)
    trains = 0 <= now - view.run.updated_at < FOREIGN_TRAINING_S
    return trains != (view.run.status == "training") or any(abs(now - c.saved_at) >= SETTLE_S for c in writing)


def _moved(view: RunView, path: str) -> RunView:
    """A run as it would have been seen at another path."""
    was = view.run.path
    checkpoints = tuple(c.evolve(path=path + c.path.removeprefix(was)) for c in view.checkpoints)
    moved: RunView = view.evolve(checkpoints=checkpoints)
    return moved


def _trashed(old: RunView | None, new: RunView) -> frozenset[str]:
    """Ids of checkpoints in the run's trash; looked up only when some have vanished."""
    if old is None or not new.run.own or {c.path for c in old.checkpoints} <= {c.path for c in new.checkpoints}:
        return frozenset()
    from ckpt.trash import Trash

    try:
        entries = Trash(RunPaths(Path(new.run.path)).trash).entries()
    except OSError:
        return frozenset()
    return frozenset(str(entry.checkpoint.get("id")) for entry in entries)


def _shown(change: Mapping[str, Any]) -> dict[str, Any]:
    return {k: printable(v) if isinstance(v, str) and k in ("path", "name") else v for k, v in change.items()}
