"""`ckptd rebuild` while no daemon runs."""

from __future__ import annotations

from typing import Any

from ckpt.paths import StatePaths, config_home, socket_path
from ckptd import parts
from ckptd.catalog.renewal import renew
from ckptd.config import file as config_file
from ckptd.process import lifecycle


def rebuild_here() -> dict[str, Any]:
    """Makes the catalog of this machine anew, whatever wrote the old one; says what there is and what was done.

    Raises LockedError when a daemon runs or starts meanwhile, and OSError.
    """
    lifecycle.need_posix()
    state = StatePaths.here()
    lock = lifecycle.take_lock(state, socket_path())
    try:
        mine = parts.writing(state)
        try:
            mine.configure(config_file.load(config_home()))
            return renew(mine.scanner, mine.catalog, mine.journal, state).to_json()
        finally:
            mine.journal.close()
    finally:
        lock.release()
