"""Which directories events are asked for, and which are looked at every few seconds instead."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ckpt import mounts
from ckpt.paths import is_inside
from ckpt.scan import Excludes
from ckptd.looking.scanner import Scanner
from ckptd.roots import enforcing
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched
from ckptd.watching.watcher import Watcher


class Coverage:
    """Keeps the watcher at the roots, at announcements, and at trainings outside all roots."""

    def __init__(self, roots: Roots, scanner: Scanner, watcher: Watcher, announced: Path) -> None:
        self._roots = roots
        self._scanner = scanner
        self._watcher = watcher
        self._announced = announced
        self._patterns: dict[str, tuple[str, ...]] = {}

    def refresh(self, renewed: str | None = None) -> None:
        """Watches what is to be watched now and says of each root how it is seen; `renewed` is watched anew."""
        wanted: dict[str, Callable[[str], bool]] = {str(self._announced): _nothing}
        for directory in map(str, self._scanner.training_outside()):
            wanted[directory] = Excludes(directory).passes_over
        anew = {renewed}
        for watched in self._roots.all():
            path = watched.root.path
            watched.polled, watched.by_hand = _why_polled(watched), enforcing.by_hand(path)
            # A degraded root that is still there may come back to life before the next full look.
            if watched.polled is None and (watched.state != "degraded" or os.path.isdir(path)):
                wanted[path] = watched.excludes.passes_over
            if watched.remounted or self._patterns.get(path, watched.patterns) != watched.patterns:
                anew.add(path)
            self._patterns[path] = watched.patterns
            watched.remounted = False
        fresh = self._watcher.watch(wanted)
        for directory in sorted((wanted.keys() & anew) - fresh):
            self._watcher.again(directory)
        blind = self._watcher.blind
        for watched in self._roots.all():
            if watched.state == "degraded":
                continue
            if watched.polled is None:
                watched.polled = self._why_blind(watched.root.path, blind)
            watched.state = "ok" if watched.polled is None else "polling"
            watched.problem = watched.polled

    def polled(self) -> list[Watched]:
        """Roots of whose changes no event tells, and those that are not believed now."""
        return [w for w in self._roots.all() if w.state == "degraded" or _why_polled(w) is not None]

    def _why_blind(self, root: str, blind: dict[str, str]) -> str | None:
        if self._watcher.state != "watching":
            return "the system gives no events"
        below = [path for path in blind if is_inside(path, root)]
        if not below:
            return None
        count = "1 directory" if len(below) == 1 else f"{len(below)} directories"
        return f"{count} below it cannot be watched: {blind[below[0]]}"


def _why_polled(watched: Watched) -> str | None:
    if watched.root.poll:
        return "config.toml says poll"
    kind = mounts.unreliable(watched.root.path)
    return None if kind is None else f"{kind} does not tell of every change"


def _nothing(path: str) -> bool:
    return False
