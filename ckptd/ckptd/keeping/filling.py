"""The trash that takes what is removed of a run: its own, or its root's, made and owned before the first removal."""

from __future__ import annotations

import time
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import OperationError
from ckpt.paths import RunPaths, machine_id
from ckpt.records import Checkpoint
from ckpt.scan import RunView
from ckpt.trash import Trash, placing
from ckpt.trash.owning import Owner
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
            return "this machine does not own its root any more"
        return next((why for file in checkpoint.files if (why := placing.obstacle(self._place, file))), None)

    def trash(self) -> Trash:
        """The trash itself. That of a root is made and claimed for this machine now.

        Raises OperationError when it cannot be, or another machine owns it.
        """
        if self._made is None:
            if self._place is None:
                self._made = Trash(self._own)
            else:
                other = self._place.taken(machine_id())
                if other is not None:
                    raise OperationError(
                        f"another machine owns {printable(self._place.root)}: {printable(other.host)}",
                        hint="one machine alone removes in it; make it this one with --take-over",
                    )
                placing.make(self._place)
                Owner(self._place.owner).claim(machine_id(), time.time())
                self._trashes.made(self._place)
                self._made = self._place.open()
        return self._made

    def _is_owned(self, place: placing.Place) -> bool:
        return Owner(place.owner).read() is not None and place.taken(machine_id()) is None
