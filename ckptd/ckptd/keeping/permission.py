"""Whether anything of a run may be removed where it stands: whose it is, and what is known of its root."""

from __future__ import annotations

import time
from functools import lru_cache

from ckpt import mounts
from ckpt.scan import RunView
from ckptd.roots.watched import Watched

NOT_ENFORCED = "its root is not enforced"
_MOUNTS_S = 60.0  # for so long what a path is mounted from is taken to stay


def acts_by_itself(view: RunView, watched: Watched | None) -> bool:
    """Whether the plan of a run may be carried out without anybody asking. `watched` is the root that holds it.

    That of an own run while nobody trains it; of a foreign one below an enforced root that is believed and on a disk
    of this machine.
    """
    if view.run.own:
        return view.run.status not in ("training", "stalled")
    if watched is None or not watched.enforced or watched.state == "degraded":
        return False
    return _network(view.run.path, int(time.monotonic() // _MOUNTS_S)) is None


def closed(view: RunView, watched: Watched | None) -> str | None:
    """Why nothing of a run may be removed at this moment; None when it may. Asks the system about its root."""
    if view.run.own:
        return None
    if watched is None or not watched.enforced:
        return NOT_ENFORCED
    problem = watched.check()
    return None if problem is None else f"its root is not to be believed: {problem}"


@lru_cache(maxsize=4096)
def _network(path: str, turn: int) -> str | None:
    """The type of a path's file system where other machines write too; asked once a turn."""
    return mounts.unreliable(path)
