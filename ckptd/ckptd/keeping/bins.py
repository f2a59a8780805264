"""The trash that takes what is removed of a run: its own, or its root's, made and owned before the first removal."""

from __future__ import annotations

import time
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import OperationError
from ckpt.paths import RunPaths
from ckpt.records import Checkpoint
from ckpt.scan import RunView
from ckpt.trash import Trash, placing
from ckpt.trash.owning import TAKE_OVER, Owner, owner_id
from ckptd.keeping.trashes import Trashes


class Bin:
    """Where the checkpoints of one run go, for one act."""

    def __init__(self, view: RunView, trashes: Trashes) -> None:
        """Raises OperationError when there can be none."""
        self._place = None if view.run.own else trashes.place_for(view.run.root)
        self._trashes = trashes
        self._own = RunPaths(Path(view.run.path)).trash
        self._made: Trash | None = None
        self.base = view.run.path if view.run.own else view.run.root
        """The directory that everything has to lie in."""

    def obstacle(self, checkpoint: Checkpoint) -> str | None:
        """Why a checkpoint cannot be moved into it; None when nothing speaks against it. Raises OperationError."""
        if self._place is None:
            return None
        if self._made is not None and not self._is_owned(self._place):
            return "this daemon does not own its root any more"
        return next((why for file in checkpoint.files if (why := placing.obstacle(self._place, file))), None)

    def trash(self) -> Trash:
        """The trash itself. That of a root is made and claimed for this daemon now.

        Raises OperationError when it cannot be, or somebody else owns it.
        """
        if self._made is None:
            if self._place is None:
                self._made = Trash(self._own)
            else:
                take(self._place)
                self._trashes.made(self._place)
                self._made = self._place.open()
        return self._made

    def _is_owned(self, place: placing.Place) -> bool:
        return Owner(place.owner).read() is not None and place.taken(owner_id()) is None


def take(place: placing.Place) -> None:
    """Makes the place of a root's trash and claims it for this daemon. May be repeated.

    Raises OperationError when somebody else owns the root, or the disk has no room even for that.
    """
    other = place.taken(owner_id())
    if other is not None:
        raise OperationError(f"{printable(place.root)} is owned by {other.shown}", hint=TAKE_OVER)
    placing.make(place)
    Owner(place.owner).claim(owner_id(), time.time())
