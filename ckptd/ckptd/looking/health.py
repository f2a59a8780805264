"""Whether what a look sees below a root may be believed, and telling when that changes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from ckpt import files
from ckpt.encoding import printable, quoted
from ckpt.paths import RunPaths
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.roots.watched import Watched

log = logging.getLogger("ckptd.health")
MANY = 3  # known runs that do not all vanish by themselves while nobody looks


class Health:
    """Degrades and recovers roots. A degraded root loses nothing of what is known of it."""

    def __init__(self, catalog: Catalog, events: Events, govern: Callable[[str], object]) -> None:
        """`govern` plans the runs of a root anew, by its path."""
        self._catalog = catalog
        self._govern = govern
        self._events = events
        self._accepted: set[str] = set()
        self._seen: set[str] = set()

    def accept(self, watched: Watched) -> None:
        """Believes a root at its next look, whatever is missing in it."""
        self._accepted.add(watched.root.path)

    def forget(self, watched: Watched) -> None:
        """Drops what is known of a root that is not watched any more."""
        self._accepted.discard(watched.root.path)
        self._seen.discard(watched.root.path)

    def distrust(self, watched: Watched, known: Collection[str] | None = None) -> bool:
        """Whether a root must not be believed now, by what it is; it is degraded then. Opens nothing in it.

        `known` are the directories of its runs, when the caller has them.
        """
        problem = watched.check()
        if problem is None and watched.doubted:
            known = self._known(watched) if known is None else known
            if watched.root.path in self._accepted or not known or any(os.path.isdir(path) for path in known):
                watched.trust()
            else:
                problem = (
                    f"the machine was restarted, and none of the {len(known)} runs that were known is there; mount its "
                    f"disk, or `ckpt watch add {quoted(watched.root.path)}` accepts what is there now"
                )
        if problem is not None:
            self.degrade(watched, problem)
        return problem is not None

    def believe(self, watched: Watched, known: Collection[str], found: Iterable[str]) -> bool:
        """Whether a whole look at a root may take the runs as gone that it did not find.

        `known` are the directories of runs that nothing else explains the absence of.
        """
        path = watched.root.path
        accepted = path in self._accepted
        self._accepted.discard(path)
        first = path not in self._seen
        here = set(found)
        accept = f"`ckpt watch add {quoted(path)}` accepts it"
        if known and not accepted and not here.intersection(known):
            if not here and not os.listdir(path):
                self.degrade(watched, f"it is empty, but {_runs(len(known))} known; is its disk mounted? {accept}")
                return False
            if first and len(known) >= MANY and not self._any_moved(here):
                self.degrade(watched, f"none of the {len(known)} runs that were known is there; {accept}")
                return False
        self._seen.add(path)
        self.recover(watched)
        return True

    def degrade(self, watched: Watched, problem: str) -> None:
        """Tells that a root cannot be believed, once for each reason."""
        if watched.state != "degraded" or watched.problem != problem:
            watched.state, watched.problem = "degraded", problem
            log.warning("root %s: %s", printable(watched.root.path), problem)
            self._events.emit("root.degraded", path=printable(watched.root.path), problem=problem)
            self._govern(watched.root.path)

    def recover(self, watched: Watched) -> None:
        """Tells that a root is believed again."""
        if watched.state == "degraded":
            watched.state, watched.problem = "ok", None
            self._events.emit("root.ok", path=printable(watched.root.path))
            self._govern(watched.root.path)

    def _known(self, watched: Watched) -> list[str]:
        return [view.run.path for view in self._catalog.all() if view.run.root == watched.root.path]

    def _any_moved(self, found: Iterable[str]) -> bool:
        """Whether one of the runs that are there is known under another path."""
        for path in found:
            try:
                manifest = files.read_json(RunPaths(Path(path)).manifest, limit=16 << 20)
            except (OSError, ValueError):
                continue
            if isinstance(manifest, dict) and self._catalog.get(str(manifest.get("id"))) is not None:
                return True
        return False


def _runs(count: int) -> str:
    return "1 run was" if count == 1 else f"{count} runs were"
