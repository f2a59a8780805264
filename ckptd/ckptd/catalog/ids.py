"""Which checkpoints have ids that begin in some way, without looking at each."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter

from ckpt.records import Checkpoint
from ckpt.scan import RunView

_id = attrgetter("id")


class Ids:
    """The checkpoints of each run by id, ordered when a run is first asked for and again after it changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[Checkpoint, ...], list[Checkpoint]]] = {}

    def find(self, view: RunView, beginning: str) -> list[Checkpoint]:
        """The checkpoints of a run whose ids begin so, by id."""
        known = self._known.get(view.run.id)
        if known is None or known[0] is not view.checkpoints:
            known = self._known[view.run.id] = (view.checkpoints, sorted(view.checkpoints, key=_id))
        ordered = known[1]
        place = bisect_left(ordered, beginning, key=_id)
        found = []
        while place < len(ordered) and ordered[place].id.startswith(beginning):
            found.append(ordered[place])
            place += 1
        return found

    def forget(self, run: str) -> None:
        """Drops what is known of a run."""
        self._known.pop(run, None)
